//! Options of the long explorations: each has a value.

/// Hands each option and its value to `take`; false where help was asked for instead.
///
/// # Errors
/// An option without a value; what `take` says.
pub fn each_option(
    mut args: impl Iterator<Item = String>,
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<bool, String> {
    while let Some(name) = args.next() {
        if name == "--help" || name == "-h" {
            return Ok(false);
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        take(&name, &value)?;
    }
    Ok(true)
}

/// The number that is an option's value.
///
/// # Errors
/// It is none.
pub fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|e| format!("{name} {value:?}: {e}"))
}

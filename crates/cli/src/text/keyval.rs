//! Option lists: `key=value,key=value`, with commas doubled inside values.

/// One entry of an option list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The key; for an entry without `=`, all of it.
    pub(crate) key: String,
    /// The value, without doubling of commas; none for an entry without `=`.
    pub(crate) value: Option<String>,
}

impl Pair {
    /// The value, where a bare `key` counts as `on` and a bare `nokey` as `key` with `off`.
    pub(crate) fn flag_form(self) -> (String, String) {
        match (self.value, self.key.strip_prefix("no")) {
            (Some(value), _) => (self.key, value),
            (None, Some(rest)) => (rest.to_owned(), "off".to_owned()),
            (None, None) => (self.key, "on".to_owned()),
        }
    }
}

/// Splits an option list. The key ends at the first `=`; two commas stand for one in a value.
pub(crate) fn parse_list(text: &str) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            Some(after) => {
                let (value, after) = take_value(after);
                rest = after;
                Some(value)
            }
            None => {
                rest = rest.strip_prefix(',').unwrap_or(rest);
                None
            }
        };
        pairs.push(Pair { key, value });
    }
    pairs
}

/// A value up to a single comma, and what follows that comma.
fn take_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(comma) = rest.find(',') {
        value.push_str(&rest[..comma]);
        rest = &rest[comma + 1..];
        match rest.strip_prefix(',') {
            Some(after) => {
                value.push(',');
                rest = after;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// Joins what several `-o` options gave, or says which of them is not a list.
pub(crate) fn join_lists(lists: &[String]) -> Result<String, String> {
    for list in lists {
        let commas = list.bytes().rev().take_while(|c| *c == b',').count();
        if list.is_empty() || list.starts_with(',') || commas % 2 == 1 {
            return Err(format!("Invalid option list: {list}"));
        }
    }
    Ok(lists.join(","))
}

/// Whether an option list asks for help instead of setting something.
pub(crate) fn asks_for_help(list: &str) -> bool {
    parse_list(list)
        .iter()
        .any(|pair| pair.value.is_none() && matches!(pair.key.as_str(), "help" | "?"))
}

/// Doubles the commas of a value.
pub(crate) fn quote_commas(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(key: &str, value: Option<&str>) -> Pair {
        Pair { key: key.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn doubled_commas_belong_to_the_value() {
        assert_eq!(
            parse_list("backing_file=a,,b.img,size=1k,force"),
            [pair("backing_file", Some("a,b.img")), pair("size", Some("1k")), pair("force", None)]
        );
        assert_eq!(parse_list("a=,b=="), [pair("a", Some("")), pair("b", Some("="))]);
        assert_eq!(parse_list("a=,,,b"), [pair("a", Some(",")), pair("b", None)]);
    }

    #[test]
    fn bare_keys_are_flags() {
        assert_eq!(pair("force", None).flag_form(), ("force".into(), "on".into()));
        assert_eq!(pair("nocow", None).flag_form(), ("cow".into(), "off".into()));
        assert_eq!(pair("nocow", Some("on")).flag_form(), ("nocow".into(), "on".into()));
    }

    #[test]
    fn lists_that_lose_a_comma_are_refused() {
        for bad in ["", ",", ",a=b", "a=b,", "a=b,,,"] {
            assert_eq!(join_lists(&[bad.to_owned()]), Err(format!("Invalid option list: {bad}")));
        }
        assert_eq!(join_lists(&["a=b,,".into(), "c=d".into()]), Ok("a=b,,,c=d".into()));
    }

    #[test]
    fn help_is_found_anywhere() {
        assert!(asks_for_help("size=1k,help"));
        assert!(asks_for_help("?"));
        assert!(!asks_for_help("backing_file=help"));
    }

    proptest! {
        #[test]
        fn a_quoted_value_comes_back(value in "[a-z,=]{0,12}") {
            let list = format!("k={},z=1", quote_commas(&value));
            let pairs = parse_list(&list);
            prop_assert_eq!(pairs, [pair("k", Some(&value)), pair("z", Some("1"))]);
        }
    }
}

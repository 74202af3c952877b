//! `--output`: the form of results, errors and progress, which every command has under our own name.

use crate::disk::DiskError;
use crate::node::WAIT;
use crate::text::Opt;
use crate::words::OUTPUT;
use crate::{out, personality};

/// The option, for commands that have none under the classic names.
pub(crate) const OUTPUT_FORM: Opt = Opt::value("output", None, &["output"])
    .takes("human|json", "form of the output, of errors and of progress (human)")
    .words(OUTPUT);

/// Options of a command that is not on images, and what it has besides under our own name.
pub(crate) fn with_own(options: &[Opt]) -> Vec<Opt> {
    let own = personality::is_native().then_some([WAIT, OUTPUT_FORM]);
    options.iter().copied().chain(own.into_iter().flatten()).collect()
}

/// Lets messages be JSON if a command line wants that, which could perhaps not be taken apart.
pub(crate) fn foresee(arguments: &[String]) {
    let apart = arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if personality::is_native() && (apart || arguments.iter().any(|a| a == "--output=json")) {
        out::choose_json();
    }
}

/// Takes the option's last value, if there is one.
///
/// # Errors
/// There is no such form.
pub(crate) fn choose(form: Option<&str>) -> Result<(), DiskError> {
    match form {
        None | Some("human") => Ok(()),
        Some("json") => {
            out::choose_json();
            Ok(())
        }
        Some(other) => Err(DiskError::invalid(unknown(other))),
    }
}

/// What is said of a form that there is not.
pub(crate) fn unknown(form: &str) -> String {
    format!("--output expects 'human' or 'json' not '{form}'")
}

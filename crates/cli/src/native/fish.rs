//! Completions for fish.

use std::fmt::Write;

use crate::img;
use crate::manual::Page;
use crate::text::{Arg, Opt, Values};

/// The script: one `complete` for each command and each option.
pub(super) fn script(pages: &[Page]) -> String {
    let mut text = String::from(
        "# Completion of holstein for fish, as 'holstein completions fish' prints it.\n",
    );
    for option in img::TOP_OPTIONS {
        write_option(&mut text, "__fish_use_subcommand", option);
    }
    for page in pages {
        let about = quoted(page.summary);
        let _ = writeln!(
            text,
            "complete -c holstein -f -n __fish_use_subcommand -a {} -d {about}",
            page.name
        );
    }
    for page in pages {
        let when = format!("'__fish_seen_subcommand_from {}'", page.name);
        for option in page.all_options() {
            write_option(&mut text, &when, option);
        }
        if !page.words.is_empty() {
            let words = quoted(&page.words.join(" "));
            let _ = writeln!(text, "complete -c holstein -f -n {when} -a {words}");
        }
    }
    text
}

fn write_option(text: &mut String, when: &str, option: &Opt) {
    let mut line = format!("complete -c holstein -n {when}");
    if let Some(letter) = option.short {
        let _ = write!(line, " -s {letter}");
    }
    for name in option.long {
        let _ = write!(line, " -l {name}");
    }
    match (option.arg, option.values) {
        (Arg::No | Arg::Maybe, _) => {}
        (Arg::Yes, Values::Any) => line.push_str(" -x"),
        (Arg::Yes, Values::File) => line.push_str(" -r -F"),
        (Arg::Yes, Values::Words(words)) => {
            let _ = write!(line, " -x -a {}", quoted(&words.join(" ")));
        }
    }
    let _ = writeln!(text, "{line} -d {}", quoted(option.about));
}

/// Text as one word of this shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

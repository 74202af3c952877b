//! Help as text.

use std::fmt::Write;

use super::{FORMATS, only_operand, page_of, pages};
use crate::img;
use crate::manual::Page;
use crate::out;
use crate::text::{Opt, Parsed};

/// Columns of a line.
const WIDTH: usize = 80;

/// `help`.
pub(super) fn run(parsed: &Parsed) -> Result<(), String> {
    out::text(&match only_operand(parsed)? {
        None => top(),
        Some(name) => page(&page_of(name)?),
    });
    Ok(())
}

/// The help of the program.
pub(crate) fn top() -> String {
    let mut text = String::from(
        "usage: holstein [OPTIONS] COMMAND [ARGUMENTS]\nHolstein disk image utility.\n\nCommands:\n",
    );
    for page in pages() {
        let _ = writeln!(text, "  {:<12} {}", page.name, page.summary);
    }
    text.push_str("\nOptions before the command:\n");
    write_options(&mut text, img::TOP_OPTIONS.iter());
    text.push_str("\n'holstein help COMMAND' tells more about a command, and gives examples.\n");
    let _ = writeln!(text, "\nSupported formats: {FORMATS}");
    text
}

/// The help of a command.
pub(crate) fn page(page: &Page) -> String {
    let mut text = format!("holstein {}: {}\n\nUsage:\n", page.name, page.summary);
    for form in page.manual.forms {
        let _ = writeln!(text, "  holstein {} [OPTIONS] {form}", page.name);
    }
    if !page.manual.operands.is_empty() {
        text.push_str("\nOperands:\n");
        for (word, about) in page.manual.operands {
            let _ = writeln!(text, "  {word}\n{}", wrapped(about, 5));
        }
    }
    text.push_str("\nOptions:\n");
    write_options(&mut text, page.options.iter());
    if !page.common.is_empty() {
        text.push_str("\nOptions of many commands:\n");
        write_options(&mut text, page.common.iter());
    }
    for note in page.manual.notes {
        let _ = writeln!(text, "\n{}", wrapped(note, 0));
    }
    text.push_str("\nExamples:\n");
    for (arguments, about) in page.manual.examples {
        let _ = writeln!(text, "  # {about}\n  holstein {arguments}");
    }
    text
}

fn write_options<'a>(text: &mut String, options: impl Iterator<Item = &'a Opt>) {
    for option in options {
        let _ = writeln!(text, "  {}\n{}", option.form(), wrapped(option.about, 5));
    }
}

/// Text in lines of at most [`WIDTH`] columns behind `indent` blanks, without the last line end.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{:indent$}{word}", "")),
        }
    }
    lines.join("\n")
}

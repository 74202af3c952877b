//! `man`: manual pages.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::roff::{bold, escaped, italic};
use super::{FORMATS, only_operand, page_of, pages};
use crate::img;
use crate::manual::Page;
use crate::out;
use crate::text::{Arg, Opt, Parsed};

/// Prints a page, or writes all of them.
pub(super) fn run(parsed: &Parsed) -> Result<(), String> {
    let name = only_operand(parsed)?;
    match (parsed.last("directory"), name) {
        (Some(_), Some(name)) => return Err(format!("Unexpected argument: {name}")),
        (Some(directory), None) => return write_all(Path::new(directory)),
        (None, None) => out::text(&program(&pages())),
        (None, Some(name)) => out::text(&command(&page_of(name)?)),
    }
    Ok(())
}

fn write_all(directory: &Path) -> Result<(), String> {
    let pages = pages();
    let mut files = vec![("holstein.1".to_owned(), program(&pages))];
    files.extend(pages.iter().map(|page| (format!("holstein-{}.1", page.name), command(page))));
    let failed = |path: &Path, error: std::io::Error| {
        format!("Could not write '{}': {}", path.display(), crate::disk::DiskError::from(error))
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The first lines of a page.
fn head(name: &str, summary: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"Holstein {}\" \"Holstein\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
        escaped(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        escaped(name),
        escaped(summary),
    )
}

/// The page of the program.
pub(super) fn program(pages: &[Page]) -> String {
    let mut text = head("holstein", "disk image utility");
    let _ = writeln!(
        text,
        "{} [{}] {} [{}]",
        bold("holstein"),
        italic("OPTIONS"),
        italic("COMMAND"),
        italic("ARGUMENTS")
    );
    text.push_str(".SH DESCRIPTION\n");
    let about = "Creates, inspects, checks, copies, changes and serves disk images, above all those of \
                 the format qcow2. Started under the names qemu-img, qemu-io and qemu-nbd it takes \
                 their command lines.";
    let _ = writeln!(text, "{}", escaped(about));
    text.push_str(".SH COMMANDS\n");
    for page in pages {
        let _ = writeln!(text, ".TP\n{}\n{}", bold(page.name), escaped(page.summary));
    }
    text.push_str(".SH OPTIONS\n");
    write_options(&mut text, img::TOP_OPTIONS.iter());
    let _ = writeln!(text, ".SH FORMATS\n{}", escaped(FORMATS));
    let names: Vec<String> = pages
        .iter()
        .map(|page| format!("{}(1)", bold(&format!("holstein-{}", page.name))))
        .collect();
    let _ = writeln!(text, ".SH SEE ALSO\n{}", names.join(",\n"));
    text
}

/// The page of a command.
pub(super) fn command(page: &Page) -> String {
    let mut text = head(&format!("holstein-{}", page.name), page.summary);
    for (index, form) in page.manual.forms.iter().enumerate() {
        if index > 0 {
            text.push_str(".br\n");
        }
        let name = bold(&format!("holstein {}", page.name));
        let _ = writeln!(text, "{name} [{}] {}", italic("OPTIONS"), escaped(form));
    }
    if !page.manual.operands.is_empty() {
        text.push_str(".SH OPERANDS\n");
        for (word, about) in page.manual.operands {
            let _ = writeln!(text, ".TP\n{}\n{}", italic(word), escaped(about));
        }
    }
    text.push_str(".SH OPTIONS\n");
    write_options(&mut text, page.all_options());
    if !page.manual.notes.is_empty() {
        text.push_str(".SH NOTES\n");
        for note in page.manual.notes {
            let _ = writeln!(text, ".PP\n{}", escaped(note));
        }
    }
    text.push_str(".SH EXAMPLES\n");
    for (arguments, about) in page.manual.examples {
        let line = escaped(&format!("holstein {arguments}"));
        let _ = writeln!(text, ".PP\n{}:\n.PP\n.RS 4\n.nf\n{line}\n.fi\n.RE", escaped(about));
    }
    let _ = writeln!(text, ".SH SEE ALSO\n{}(1)", bold("holstein"));
    text
}

fn write_options<'a>(text: &mut String, options: impl Iterator<Item = &'a Opt>) {
    for option in options {
        let mut names: Vec<String> =
            option.short.iter().map(|letter| bold(&format!("-{letter}"))).collect();
        names.extend(option.long.iter().map(|name| bold(&format!("--{name}"))));
        let names = names.join(", ");
        let value = italic(option.value);
        let form = match option.arg {
            Arg::No => names,
            Arg::Yes => format!("{names} {value}"),
            Arg::Maybe => format!("{names}[={value}]"),
        };
        let _ = writeln!(text, ".TP\n{form}\n{}", escaped(option.about));
    }
}

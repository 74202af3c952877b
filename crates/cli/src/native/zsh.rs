//! Completions for zsh.

use std::fmt::Write;

use super::completions::quoted;
use crate::img;
use crate::manual::Page;
use crate::text::{Arg, Opt, Values};

/// The script, a function of the completion system.
pub(super) fn script(pages: &[Page]) -> String {
    let mut text = String::from(
        "#compdef holstein
# Completion of holstein for zsh, as 'holstein completions zsh' prints it.
_holstein() {
    local curcontext=$curcontext state line
    local -a commands
    commands=(
",
    );
    for page in pages {
        let _ = writeln!(text, "        {}", quoted(&format!("{}:{}", page.name, page.summary)));
    }
    text.push_str("    )\n    _arguments -C \\\n");
    write_options(&mut text, img::TOP_OPTIONS.iter(), 8);
    text.push_str(
        "        '1:command:->command' \\
        '*::argument:->argument'
    case $state in
    command) _describe command commands ;;
    argument)
        case $line[1] in
",
    );
    for page in pages {
        let _ = writeln!(text, "        {})\n            _arguments \\", page.name);
        write_options(&mut text, page.all_options(), 16);
        let rest = match page.words.is_empty() {
            true => "*:file:_files".to_owned(),
            false => format!("1:word:({})", page.words.join(" ")),
        };
        let _ = writeln!(text, "                {}\n            ;;", quoted(&rest));
    }
    text.push_str("        esac\n        ;;\n    esac\n}\n_holstein \"$@\"\n");
    text
}

fn write_options<'a>(text: &mut String, options: impl Iterator<Item = &'a Opt>, indent: usize) {
    for option in options {
        let mut names: Vec<String> = option.short.iter().map(|c| format!("-{c}")).collect();
        names.extend(option.long.iter().map(|name| format!("--{name}")));
        let others = names.join(" ");
        for name in &names {
            let spec = spec(option, name, &others);
            let _ = writeln!(text, "{:indent$}{} \\", "", quoted(&spec));
        }
    }
}

/// One name of an option with what follows it; `others` are those that need not be offered any more.
fn spec(option: &Opt, name: &str, others: &str) -> String {
    let about = escaped(option.about);
    let value = escaped(option.value);
    let equals = match (option.arg, name.starts_with("--")) {
        (Arg::Yes, true) => "=",
        (Arg::Yes, false) => "+",
        (Arg::Maybe, true) => "=-",
        _ => "",
    };
    let action = match option.values {
        Values::Any => " ".to_owned(),
        Values::File => "_files".to_owned(),
        Values::Words(words) => format!("({})", words.join(" ")),
    };
    match option.arg {
        Arg::No => format!("({others}){name}[{about}]"),
        Arg::Yes => format!("*{name}{equals}[{about}]:{value}:{action}"),
        Arg::Maybe => format!("({others}){name}{equals}[{about}]::{value}:{action}"),
    }
}

/// Text within a specification.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

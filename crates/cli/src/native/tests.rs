//! The pages and what is made of them, beside the parser.

use std::collections::BTreeSet;

use super::*;
use crate::text::Arg;

/// A line as a shell takes it apart, up to where its output goes elsewhere.
fn words(line: &str) -> Vec<String> {
    let ends = [" > ", " | "];
    let line = ends.iter().fold(line, |line, end| line.split(end).next().unwrap_or(line));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for sign in line.chars() {
        match sign {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_option_is_explained_in_one_line() {
    for page in pages() {
        let mut names = BTreeSet::new();
        for option in page.all_options() {
            let form = option.form();
            let about = option.about;
            assert!(!about.is_empty() && !about.contains('\n'), "{} {form}: {about:?}", page.name);
            assert_eq!(option.value.is_empty(), option.arg == Arg::No, "{} {form}", page.name);
            let letters = option.short.iter().map(char::to_string);
            for name in letters.chain(option.long.iter().map(|name| (*name).to_owned())) {
                assert!(names.insert(name.clone()), "{} has {name} twice", page.name);
            }
        }
        assert!(names.contains("help") && names.contains("h"), "{}", page.name);
        assert!(!page.summary.is_empty() && !page.manual.forms.is_empty(), "{}", page.name);
    }
}

#[test]
fn every_command_has_two_to_four_examples_that_the_parser_takes() {
    for page in pages() {
        let examples = page.manual.examples;
        assert!((2..=4).contains(&examples.len()), "{} has {}", page.name, examples.len());
        let options: Vec<Opt> = page.all_options().copied().collect();
        for (line, about) in examples {
            let words = words(line);
            let (name, rest) = words.split_first().expect("an example has words");
            assert_eq!(name, page.name, "{line}");
            let parsed = parse_options(&options, rest, Operands::Mixed);
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            assert!(!about.is_empty(), "{line}");
        }
    }
}

#[test]
fn examples_are_taken_apart_as_by_a_shell() {
    assert_eq!(words("io --cmd 'write 0 64k' a"), ["io", "--cmd", "write 0 64k", "a"]);
    assert_eq!(words("rebase -b '' x"), ["rebase", "-b", "", "x"]);
    assert_eq!(words("man create | man -l -"), ["man", "create"]);
    assert_eq!(words("completions bash > ~/x"), ["completions", "bash"]);
}

#[test]
fn names_are_those_of_the_pages() {
    let pages: Vec<&str> = pages().iter().map(|page| page.name).collect();
    assert_eq!(names(), pages);
}

#[test]
fn all_that_is_made_of_a_page_has_every_option() {
    let all = pages();
    let scripts = [bash::script(&all), fish::script(&all), zsh::script(&all)];
    for page in &all {
        let (help, manual) = (help::page(page), man::command(page));
        for option in page.all_options() {
            for name in option.long {
                let long = format!("--{name}");
                assert!(help.contains(&long), "help of {}: {name}", page.name);
                let roff = roff::escaped(&long);
                assert!(manual.contains(&roff), "manual page of {}: {name}", page.name);
                let names = [long.as_str(), &format!("-l {name}"), long.as_str()];
                for (script, name) in scripts.iter().zip(names) {
                    assert!(script.contains(name), "{}: {name}", page.name);
                }
            }
        }
    }
}

#[test]
fn lines_of_help_fit_a_terminal() {
    let texts = pages().iter().map(help::page).chain([help::top()]).collect::<Vec<_>>();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let form = line.starts_with("  -") || line.starts_with("  holstein ");
        assert!(form || line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn manual_pages_are_requests_and_text() {
    let all = pages();
    let texts = all.iter().map(man::command).chain([man::program(&all)]);
    for text in texts {
        let mut sections = Vec::new();
        for line in text.lines() {
            assert!(!line.is_empty(), "an empty line would be a gap: {text}");
            if let Some(request) = line.strip_prefix('.') {
                let (request, rest) = request.split_once(' ').unwrap_or((request, ""));
                let known = ["TH", "SH", "TP", "PP", "RS", "RE", "nf", "fi", "br"];
                assert!(known.contains(&request), "{line}");
                if request == "SH" {
                    sections.push(rest.to_owned());
                }
            }
            assert!(!line.starts_with('\''), "{line}");
        }
        assert_eq!(sections.first().map(String::as_str), Some("NAME"));
        assert_eq!(sections.last().map(String::as_str), Some("SEE ALSO"));
    }
}

//! Help, completions and manual pages under our own name, beside what the program takes.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use holstein_testkit::{TempDir, skipped};

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

type TestResult = Result<(), Box<dyn Error>>;

/// An empty directory that goes away at the end.
struct Scratch(TempDir);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        Ok(Self(TempDir::new(&format!("native-{name}"))?))
    }
}

fn holstein(arguments: &[&str], dir: &Path) -> std::io::Result<Output> {
    let mut command = Command::new(OURS);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).output()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn commands(dir: &Path) -> std::io::Result<Vec<String>> {
    let help = text(&holstein(&["help"], dir)?.stdout);
    let rows = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let rows = rows.take_while(|line| line.starts_with("  "));
    Ok(rows.filter_map(|row| row.split_whitespace().next().map(str::to_owned)).collect())
}

/// An option as help shows it.
#[derive(Debug)]
struct Listed {
    names: Vec<String>,
    /// A value has to follow.
    valued: bool,
    /// A value may be attached.
    may_have: bool,
}

fn listed(help: &str) -> Vec<Listed> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let forms = lines.filter(|line| line.starts_with('-'));
    let option = |form: &str| {
        let (names, valued, may_have) = match form.split_once("[=") {
            Some((names, _)) => (names, false, true),
            None => {
                // Names are parted by a comma and a blank; the value has a blank alone before it.
                let mut blanks = form.match_indices(' ');
                match blanks.find(|(at, _)| !form[..*at].ends_with(',')) {
                    Some((at, _)) => (&form[..at], true, false),
                    None => (form, false, false),
                }
            }
        };
        let names = names.split(", ").map(str::to_owned).collect();
        Listed { names, valued, may_have }
    };
    forms.map(option).collect()
}

/// What the parser says where it does not know an option, or takes it otherwise.
fn refusal(output: &Output) -> Option<&'static str> {
    let said = text(&output.stderr);
    [
        "unrecognized option",
        "invalid option --",
        "doesn't allow an argument",
        "requires an argument",
        "is ambiguous",
    ]
    .into_iter()
    .find(|refusal| said.contains(refusal))
}

#[test]
fn help_has_the_options_that_the_parser_takes_and_no_others() -> TestResult {
    let scratch = Scratch::new("help")?;
    let dir = scratch.0.path();
    let commands = commands(dir)?;
    assert!(commands.len() >= 20, "{commands:?}");
    let mut all = BTreeSet::new();
    let mut pages = Vec::new();
    for command in &commands {
        let help = text(&holstein(&["help", command], dir)?.stdout);
        assert_eq!(help, text(&holstein(&[command, "--help"], dir)?.stdout), "{command}");
        let options = listed(&help);
        assert!(!options.is_empty(), "{help}");
        all.extend(options.iter().flat_map(|option| option.names.clone()));
        pages.push((command.as_str(), options));
    }
    for (command, options) in &pages {
        for option in options {
            for name in &option.names {
                let long = name.starts_with("--");
                let plain: &[&str] =
                    if option.valued { &[command, name, "x"] } else { &[command, name] };
                assert_eq!(refusal(&holstein(plain, dir)?), None, "{command} {name}");
                if option.valued {
                    let alone = holstein(&[command, name], dir)?;
                    assert_eq!(refusal(&alone), Some("requires an argument"), "{command} {name}");
                } else if long {
                    let attached = holstein(&[command, &format!("{name}=1")], dir)?;
                    let expected = (!option.may_have).then_some("doesn't allow an argument");
                    assert_eq!(refusal(&attached), expected, "{command} {name}");
                }
            }
        }
        let own: BTreeSet<&str> =
            options.iter().flat_map(|option| &option.names).map(String::as_str).collect();
        for letter in ('a'..='z').chain('A'..='Z') {
            let name = format!("-{letter}");
            if !own.contains(name.as_str()) {
                let refused = refusal(&holstein(&[command, &name], dir)?);
                assert_eq!(
                    refused,
                    Some("invalid option --"),
                    "{command} {name} is not in the help"
                );
            }
        }
        for name in all.iter().filter(|name| name.starts_with("--")) {
            // A name may be cut short.
            if own.iter().any(|own| own.starts_with(name.as_str())) {
                continue;
            }
            let refused = refusal(&holstein(&[command, name], dir)?);
            assert_eq!(refused, Some("unrecognized option"), "{command} {name} is not in the help");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_there_has_no_help() -> TestResult {
    let scratch = Scratch::new("nohelp")?;
    for (arguments, said) in [
        (&["help", "nosuch"][..], "holstein help: Command not found: nosuch\n"),
        (&["man", "nosuch"], "holstein man: Command not found: nosuch\n"),
        (&["completions"], "holstein completions: Expecting the name of a shell"),
        (&["completions", "csh"], "holstein completions: no completions for 'csh'"),
        (&["man", "--nosuch"], "holstein man: unrecognized option '--nosuch'\n"),
    ] {
        let output = holstein(arguments, scratch.0.path())?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).starts_with(said), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn only_our_own_name_has_these_commands() -> TestResult {
    let scratch = Scratch::new("classic")?;
    let classic = scratch.0.file("qemu-img");
    std::os::unix::fs::symlink(OURS, &classic)?;
    for command in ["help", "completions", "man", "io", "nbd"] {
        let output = Command::new(&classic).args([command, "bash"]).output()?;
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "qemu-img: Command not found: {command}\nTry 'qemu-img --help' for more info\n"
        );
        assert_eq!(text(&output.stderr), expected);
    }
    for arguments in [&["create", "--output=json", "x", "1M"][..], &["dd", "-p", "if=x", "of=y"]] {
        let output =
            Command::new(&classic).args(arguments).current_dir(scratch.0.path()).output()?;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("unrecognized option") || said.contains("invalid option"), "{said}");
    }
    Ok(())
}

/// What bash offers for the last of the words.
fn completed(
    script: &Path,
    words: &[&str],
    dir: &Path,
) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let program = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _holstein; \
                   printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", program, "bash"])
        .arg(script)
        .args(words)
        .current_dir(dir)
        .output()?;
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    Ok(text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn bash_completes_commands_options_words_and_files() -> TestResult {
    let scratch = Scratch::new("bash")?;
    let dir = scratch.0.path();
    if Command::new("bash").arg("--version").output().is_err() {
        skipped("bash_completes_commands_options_words_and_files: there is no bash");
        return Ok(());
    }
    let script = dir.join("script");
    fs::write(&script, holstein(&["completions", "bash"], dir)?.stdout)?;
    fs::write(dir.join("disk image.qcow2"), "")?;
    let complete = |words: &[&str]| completed(&script, words, dir);
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();

    let all: BTreeSet<String> = commands(dir)?.into_iter().collect();
    assert_eq!(complete(&["holstein", ""])?, all);
    assert_eq!(complete(&["holstein", "com"])?, set(&["commit", "compare", "completions"]));
    assert_eq!(complete(&["holstein", "--trace", "x", "res"])?, set(&["resize"]));
    assert_eq!(complete(&["holstein", "--ver"])?, set(&["--version"]));
    assert_eq!(complete(&["holstein", "help", "cre"])?, set(&["create"]));
    assert_eq!(complete(&["holstein", "completions", ""])?, set(&["bash", "fish", "zsh"]));
    assert_eq!(complete(&["holstein", "create", "-f", "q"])?, set(&["qcow2"]));
    assert_eq!(complete(&["holstein", "check", "--repair", "=", "l"])?, set(&["leaks"]));
    assert_eq!(complete(&["holstein", "check", "--repair", "="])?, set(&["all", "leaks"]));
    assert_eq!(complete(&["holstein", "check", "--repair=l"])?, set(&["--repair=leaks"]));
    assert_eq!(complete(&["holstein", "info", "disk"])?, set(&["disk image.qcow2"]));
    assert_eq!(complete(&["holstein", "create", "--backing", "d"])?, set(&["disk image.qcow2"]));
    assert_eq!(complete(&["holstein", "create", "--options", ""])?, set(&[]));
    assert_eq!(complete(&["holstein", "nosuch", ""])?, set(&[]));
    for command in &all {
        let help = text(&holstein(&["help", command], dir)?.stdout);
        let mut expected = BTreeSet::new();
        for option in listed(&help) {
            let long: Vec<_> = option.names.iter().filter(|name| name.starts_with("--")).collect();
            expected.extend(if long.is_empty() {
                option.names.clone()
            } else {
                long.into_iter().cloned().collect()
            });
        }
        assert_eq!(complete(&["holstein", command, "-"])?, expected, "{command}");
    }
    Ok(())
}

#[test]
fn shells_that_are_there_can_read_their_scripts() -> TestResult {
    let scratch = Scratch::new("shells")?;
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.0.file(shell);
        let output = holstein(&["completions", shell], scratch.0.path())?;
        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
        fs::write(&script, output.stdout)?;
        match Command::new(shell).arg("-n").arg(&script).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(_) => skipped(&format!(
                "shells_that_are_there_can_read_their_scripts: there is no {shell}"
            )),
        }
    }
    Ok(())
}

#[test]
fn groff_finds_no_fault_with_manual_pages() -> TestResult {
    let scratch = Scratch::new("man")?;
    let dir = scratch.0.path();
    let pages = dir.join("pages");
    let written = holstein(&["man", "--directory", "pages"], dir)?;
    assert!(written.status.success(), "{written:?}");
    let mut names: Vec<String> =
        commands(dir)?.iter().map(|command| format!("holstein-{command}.1")).collect();
    names.push("holstein.1".to_owned());
    names.sort();
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(&pages)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    assert_eq!(found, names);
    assert_eq!(fs::read(pages.join("holstein.1"))?, holstein(&["man"], dir)?.stdout);
    let create = holstein(&["man", "create"], dir)?.stdout;
    assert_eq!(fs::read(pages.join("holstein-create.1"))?, create);
    for name in &names {
        let mut groff = Command::new("groff");
        let groff = groff.args(["-man", "-ww", "-Tutf8", "-z"]).arg(pages.join(name));
        match groff.output() {
            Ok(output) => {
                assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
            }
            Err(_) => {
                let text = "groff_finds_no_fault_with_manual_pages: there is no groff";
                skipped(text);
                return Ok(());
            }
        }
    }
    // A page as it is read has its options and examples in full.
    let mut groff = Command::new("groff")
        .args(["-man", "-Tascii", "-P-cbou"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    groff.stdin.take().ok_or("no pipe")?.write_all(&create)?;
    let shown = text(&groff.wait_with_output()?.stdout);
    for line in ["-f, --format FMT", "holstein create --format qcow2 disk.qcow2 20G"] {
        assert!(shown.contains(line), "{shown}");
    }
    Ok(())
}

//! Rules in a file: sections of `key = "value"` lines.

use super::rules::{Rule, take_rule};
use crate::disk::DiskError;
use crate::node::Options;

/// Reads the rules of the file at `path`.
///
/// # Errors
/// The file cannot be read, or a line or a rule of it cannot be understood.
pub(super) fn read(path: &str) -> Result<Vec<Rule>, DiskError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        DiskError::from(error).prefixed("Could not read blkdebug config file: ")
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Rule>, DiskError> {
    let mut rules = Vec::new();
    let mut section: Option<(&str, Options)> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            finish(section.take(), &mut rules)?;
            let name = name.split(']').next().unwrap_or_default();
            if !matches!(name, "inject-error" | "set-state") {
                return Err(DiskError::invalid(format!("There is no option group '{name}'")));
            }
            section = Some((name, Options::default()));
            continue;
        }
        let (_, options) =
            section.as_mut().ok_or_else(|| DiskError::invalid("no group defined"))?;
        let (key, value) = key_and_value(line)
            .ok_or_else(|| DiskError::invalid(format!("parse error in the line '{line}'")))?;
        options.set(key, value);
    }
    finish(section, &mut rules)?;
    Ok(rules)
}

fn finish(section: Option<(&str, Options)>, rules: &mut Vec<Rule>) -> Result<(), DiskError> {
    if let Some((name, mut options)) = section {
        rules.push(take_rule(name, &mut options)?);
    }
    Ok(())
}

/// The parts of `key = "value"`; blanks may surround all of them.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let (value, _) = value.trim_start().strip_prefix('"')?.split_once('"')?;
    Some((key.trim(), value)).filter(|(key, _)| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::blkdebug::rules::Action;

    #[test]
    fn sections_are_rules() {
        let rules = parse(
            "# rules\n[inject-error]\nevent = \"l2_load\"\nonce =\"on\"\nerrno=\"28\"\n\n\
             [set-state]\nevent = \"read_aio\"\nnew_state = \"2\"\n",
        );
        let rules = rules.expect("the text is well formed");
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].event, &rules[1].action), ("l2_load", &Action::SetState(2)));
        let once = Action::Inject { errno: 28, io: None, offset: None, once: true };
        assert_eq!(rules[0].action, once);
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for text in
            ["event = \"none\"\n", "[foo]\n", "[inject-error]\nevent = none\n", "[set-state]\nx\n"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("\n# nothing\n"), Ok(Vec::new()));
    }
}

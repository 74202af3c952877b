//! Which stage of test-all an integration test belongs to: its name's prefix says.
//!
//! Every test belongs to exactly one stage, so that none is left out by being new: a name with no known
//! prefix is a plain test of its crate.

use crate::workspace::Workspace;

/// The stages made of integration tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Schedule,
    Crash,
    Fault,
    Fuzz,
    Differential,
    Cli,
}

const PREFIXES: [(&str, Kind); 9] = [
    ("sim_", Kind::Schedule),
    ("schedule_", Kind::Schedule),
    ("crash_", Kind::Crash),
    ("fault_", Kind::Fault),
    ("fuzz_", Kind::Fuzz),
    ("interop_", Kind::Differential),
    ("oracle_", Kind::Differential),
    ("conformance_", Kind::Differential),
    ("cli_", Kind::Cli),
];

/// The stage of the integration test `test` in the package `package`.
pub(crate) fn kind_of(package: &str, test: &str) -> Kind {
    match PREFIXES.iter().find(|(prefix, _)| test.starts_with(prefix)) {
        Some((_, kind)) => *kind,
        None if package == "holstein-cli" => Kind::Cli,
        None => Kind::Plain,
    }
}

/// The integration tests of one stage, as package and test name.
pub(crate) fn of_kind(workspace: &Workspace, kind: Kind) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        for test in &package.tests {
            if kind_of(&package.name, test) == kind {
                found.push((package.name.as_str(), test.as_str()));
            }
        }
    }
    found
}

/// Prefixes by which a test joins the stage `kind`, for messages.
pub(crate) fn prefixes(kind: Kind) -> Vec<&'static str> {
    PREFIXES.iter().filter(|(_, of)| *of == kind).map(|(prefix, _)| *prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_decides_and_the_rest_is_plain() {
        assert_eq!(kind_of("holstein-tests", "crash_two_operations"), Kind::Crash);
        assert_eq!(kind_of("holstein-engine", "sim_requests"), Kind::Schedule);
        assert_eq!(kind_of("holstein-cli", "create_texts"), Kind::Cli);
        assert_eq!(kind_of("holstein-cli", "interop_convert"), Kind::Differential);
        assert_eq!(kind_of("holstein-format", "prop_header"), Kind::Plain);
    }
}

//! CHANGELOG.md has a part for what is not released yet, with something in it.

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

const FILE: &str = "CHANGELOG.md";

pub(super) fn check(_: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    let problem = match tree.text(FILE) {
        None => Some("does not exist"),
        Some(text) => problem(text),
    };
    Ok(problem.map(|problem| Finding::error(format!("{FILE} {problem}"))).into_iter().collect())
}

fn problem(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().skip_while(|line| {
        !(line.starts_with("## ") && line.to_ascii_lowercase().contains("unreleased"))
    });
    if lines.next().is_none() {
        return Some("has no heading `## Unreleased`");
    }
    let mut entries = lines.take_while(|line| !line.starts_with("## "));
    if entries.any(|line| line.starts_with("- ")) {
        None
    } else {
        Some("says nothing under `## Unreleased`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_only_under_its_heading() {
        assert_eq!(problem("# Changes\n\n## Unreleased\n\n### Speed\n- faster\n"), None);
        assert!(problem("## Unreleased\n\n## 0.1\n- faster\n").is_some());
        assert!(problem("## 0.1\n- faster\n").is_some());
    }
}

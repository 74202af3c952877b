//! `tidy`: house rules that the compiler does not know.
//!
//! Each module is one rule: it gets the tree and returns [`Finding`]s. A rule that finds nothing is one
//! passed test.

mod changelog;
mod dependencies;
mod graph;
mod headers;
mod length;
mod orphans;
mod tree;
mod words;

use anyhow::{Result, ensure};

use crate::tally::Tally;
use crate::workspace::Workspace;
use tree::Tree;

/// Something that a rule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A warning is shown and fails nothing.
    warning: bool,
    text: String,
}

impl Finding {
    fn error(text: impl Into<String>) -> Finding {
        Finding { warning: false, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Finding {
        Finding { warning: true, text: text.into() }
    }
}

type Rule = fn(&Workspace, &Tree) -> Result<Vec<Finding>>;

const RULES: [(&str, Rule); 7] = [
    ("headers", headers::check),
    ("graph", graph::check),
    ("length", length::check),
    ("words", words::check),
    ("changelog", changelog::check),
    ("dependencies", dependencies::check),
    ("orphans", orphans::check),
];

/// What all rules said.
#[derive(Debug)]
pub(crate) struct Verdict {
    rules: Vec<(&'static str, Vec<Finding>)>,
}

impl Verdict {
    /// One test for each rule.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (_, findings) in &self.rules {
            tally += Tally::one(findings.iter().all(|finding| finding.warning));
        }
        tally
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.texts(false)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.texts(true)
    }

    /// Every rule, with what it found under it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (rule, findings) in &self.rules {
            let failed = findings.iter().any(|finding| !finding.warning);
            lines.push(format!("{} {rule}", if failed { "FAIL" } else { "ok  " }));
            for finding in findings {
                let kind = if finding.warning { "warning" } else { "error" };
                lines.push(format!("     {kind}: {}", finding.text));
            }
        }
        lines
    }

    fn texts(&self, warning: bool) -> Vec<String> {
        self.rules
            .iter()
            .flat_map(|(rule, findings)| findings.iter().map(move |finding| (rule, finding)))
            .filter(|(_, finding)| finding.warning == warning)
            .map(|(rule, finding)| format!("tidy {rule}: {}", finding.text))
            .collect()
    }
}

/// Applies every rule to the tree as it is now, new files included.
pub(crate) fn inspect(workspace: &Workspace) -> Result<Verdict> {
    let tree = Tree::load(workspace)?;
    let rules = RULES
        .iter()
        .map(|(name, rule)| Ok((*name, rule(workspace, &tree)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Verdict { rules })
}

/// `cargo xtask tidy`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    ensure!(args.is_empty(), "tidy takes no arguments");
    let verdict = inspect(workspace)?;
    for line in verdict.lines() {
        println!("{line}");
    }
    let tally = verdict.tally();
    println!("{tally}");
    Ok(tally.failed == 0)
}

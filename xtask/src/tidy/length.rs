//! A file holds one concept: sources of crates stay short enough to be one.

use anyhow::Result;

use super::Finding;
use super::tree::{Tree, is_crate_source};
use crate::workspace::Workspace;

const WARN_LINES: usize = 700;
const FAIL_LINES: usize = 900;

pub(super) fn check(_: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    Ok(tree
        .rust()
        .filter(|(path, _)| is_crate_source(path))
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            let message = format!("{} has {lines} lines", path.display());
            if lines > FAIL_LINES {
                Some(Finding::error(format!("{message}, more than {FAIL_LINES}")))
            } else if lines > WARN_LINES {
                Some(Finding::warning(format!("{message}: look for the second concept inside")))
            } else {
                None
            }
        })
        .collect())
}

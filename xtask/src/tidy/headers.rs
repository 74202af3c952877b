//! Every Rust file begins by saying what it is for: `//!`, after inner attributes at most.

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

pub(super) fn check(_: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    Ok(tree
        .rust()
        .filter(|(_, text)| !has_header(text))
        .map(|(path, _)| Finding::error(format!("{} has no //! header", path.display())))
        .collect())
}

fn has_header(text: &str) -> bool {
    let mut open = 0_usize;
    for line in text.lines() {
        let line = line.trim();
        if open == 0 {
            if line.is_empty() {
                continue;
            }
            if let Some(words) = line.strip_prefix("//!") {
                return !words.trim().is_empty();
            }
            if !line.starts_with("#![") {
                return false;
            }
        }
        open = (open + line.matches('[').count()).saturating_sub(line.matches(']').count());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inner_attributes_may_come_before_the_header() {
        assert!(has_header("//! Words.\nfn main() {}\n"));
        assert!(has_header("#![no_std]\n#![cfg_attr(\n  test,\n  allow(x)\n)]\n\n//! Words.\n"));
        assert!(!has_header("use a;\n//! Words.\n"));
        assert!(!has_header("//!\nfn main() {}\n"));
        assert!(!has_header("#![no_std]\nfn main() {}\n"));
        assert!(!has_header(""));
    }
}

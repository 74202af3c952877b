//! Words that stay out of the tree: unfinished code, tests that do not run, paths and hosts of one machine.

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

struct Word {
    /// Put together here, so that this file does not hold the word itself.
    word: &'static str,
    why: &'static str,
    rust_only: bool,
}

const WORDS: [Word; 12] = [
    Word { word: concat!("/wor", "k/"), why: "is a path of one machine", rust_only: false },
    Word { word: concat!("/roo", "t/"), why: "is a path of one machine", rust_only: false },
    Word { word: concat!("\"/tm", "p"), why: "take std::env::temp_dir", rust_only: true },
    Word { word: concat!("tod", "o!"), why: "is unfinished code", rust_only: true },
    Word { word: concat!("unimplemen", "ted!"), why: "is unfinished code", rust_only: true },
    Word { word: concat!("FIX", "ME"), why: "is unfinished code", rust_only: false },
    Word { word: concat!("#[ign", "ore"), why: "is a test that does not run", rust_only: true },
    Word { word: concat!("crates", ".io"), why: "is the host of a registry", rust_only: false },
    Word { word: concat!("debian", ".org"), why: "is the host of a registry", rust_only: false },
    Word { word: concat!("pypi", ".org"), why: "is the host of a registry", rust_only: false },
    Word { word: concat!("npmjs", ".org"), why: "is the host of a registry", rust_only: false },
    Word { word: concat!("golang", ".org"), why: "is the host of a registry", rust_only: false },
];

pub(super) fn check(_: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    Ok(find(tree))
}

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        // Written by cargo, which names the registry in it.
        if path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        for (number, line) in text.lines().enumerate() {
            for Word { word, why, rust_only } in &WORDS {
                if (rust || !rust_only) && line.contains(word) {
                    let place = format!("{}:{}", path.display(), number + 1);
                    findings.push(Finding::error(format!("{place}: {word} {why}")));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_count_and_nowhere_else() {
        let unfinished = concat!("fn a() { tod", "o!() }\n");
        let path = concat!("cd /wor", "k/main\n");
        let lock = concat!("registry+crates", ".io\n");
        let tree = Tree::of(&[
            ("a.rs", unfinished),
            ("a.md", unfinished),
            ("b.md", path),
            ("Cargo.lock", lock),
        ]);
        let found = find(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|finding| finding.text.starts_with("a.rs:1: ")));
        assert!(found.iter().any(|finding| finding.text.starts_with("b.md:1: ")));
    }
}

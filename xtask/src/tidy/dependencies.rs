//! A dependency that is named is used: by a member, and in that member's sources.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    for name in table_names(manifest, "[workspace.dependencies]") {
        let used = workspace
            .packages
            .iter()
            .any(|package| package.dependencies.iter().any(|dependency| dependency.name == name));
        if !used {
            findings.push(Finding::error(format!("no member depends on {name} of Cargo.toml")));
        }
    }
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            if !names(tree, &package.folder, &dependency.name) {
                let kind = if dependency.dev { "dev-dependency" } else { "dependency" };
                findings.push(Finding::error(format!(
                    "{}: no source names its {kind} {}",
                    package.name, dependency.name
                )));
            }
        }
    }
    Ok(findings)
}

/// Whether a source under `folder`, or one that such a source includes by its path, names the crate
/// `dependency`.
fn names(tree: &Tree, folder: &Path, dependency: &str) -> bool {
    let identifier = dependency.replace('-', "_");
    let inside = |path: &Path| path.starts_with(folder);
    let included: BTreeSet<PathBuf> = tree
        .rust()
        .filter(|(path, _)| inside(path))
        .flat_map(|(path, text)| included(path, text))
        .collect();
    tree.rust().filter(|(path, _)| inside(path) || included.contains(*path)).any(|(_, text)| {
        text.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| has_path_to(line, &identifier))
    })
}

/// The files that the source `path` includes by `#[path = "..."]`, relative to the root.
fn included(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"))
        .map(|name| {
            let mut whole = PathBuf::new();
            for part in folder.join(name).components() {
                match part {
                    Component::ParentDir => {
                        whole.pop();
                    }
                    part => whole.push(part),
                }
            }
            whole
        })
        .collect()
}

/// Whether `line` has the word `identifier` as the start of a path, or as a name that is imported.
fn has_path_to(line: &str, identifier: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(identifier).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(identifier).unwrap_or_default();
        let starts = !before.ends_with(word) && !before.ends_with('"');
        let imported =
            before.trim_start().starts_with("use ") || before.trim_start().starts_with("pub use ");
        starts && (after.starts_with("::") || (imported && !after.starts_with(word)))
    })
}

/// The keys of one table of a manifest that has one key a line.
fn table_names<'a>(manifest: &'a str, table: &str) -> Vec<&'a str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != table)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once([' ', '=', '.']))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_table_are_read_and_no_others() {
        let manifest = "[a]\nx = 1\n[workspace.dependencies]\n# why\naes = \"1\"\nz-b = { path = \"c\" }\n\n[b]\ny = 1\n";
        assert_eq!(table_names(manifest, "[workspace.dependencies]"), ["aes", "z-b"]);
    }

    #[test]
    fn only_a_path_or_an_import_is_a_use() {
        assert!(has_path_to("use zerocopy::{U64};", "zerocopy"));
        assert!(has_path_to("    let x = aes::Aes128::new();", "aes"));
        assert!(has_path_to("use libc;", "libc"));
        assert!(!has_path_to("let aes = 1;", "aes"));
        assert!(!has_path_to("holstein_units::x", "units"));
        assert!(!has_path_to("let zerocopy_like = 1;", "zerocopy"));
    }

    #[test]
    fn a_comment_is_no_use() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "// aes::x\nuse cbc::y;\n")]);
        assert!(!names(&tree, Path::new("crates/a"), "aes"));
        assert!(names(&tree, Path::new("crates/a"), "cbc"));
        assert!(!names(&tree, Path::new("crates/b"), "cbc"));
    }

    #[test]
    fn a_file_included_by_its_path_counts() {
        let tree = Tree::of(&[
            ("tests/tests/a.rs", "#[path = \"../../fuzz/b.rs\"]\nmod b;\n"),
            ("fuzz/b.rs", "use aes::x;\n"),
        ]);
        assert!(names(&tree, Path::new("tests"), "aes"));
        assert!(!names(&tree, Path::new("crates"), "aes"));
    }
}

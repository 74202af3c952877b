//! A dependency that is named is used: by a member, and in that member's sources.

use std::path::Path;

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

/// Whether a source under `folder` names the crate `dependency`.
fn names(tree: &Tree, folder: &Path, dependency: &str) -> bool {
    let identifier = dependency.replace('-', "_");
    tree.rust().filter(|(path, _)| path.starts_with(folder)).any(|(_, text)| {
        text.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| has_path_to(line, &identifier))
    })
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
}

//! Every source file is part of its crate: a file that no `mod` names is compiled and tested by nobody.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

pub(super) fn check(_: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    Ok(orphans(tree)
        .map(|path| Finding::error(format!("no mod line names {}", path.display())))
        .collect())
}

fn orphans(tree: &Tree) -> impl Iterator<Item = &Path> {
    tree.rust().map(|(path, _)| path).filter(|path| {
        is_module(path) && !named_by_path(tree, path) && !named_by_parent(tree, path)
    })
}

/// Whether the file is a module under a `src` folder rather than the root of a crate or program.
fn is_module(path: &Path) -> bool {
    let Some(below) = below_src(path) else { return false };
    let first = below.iter().next().unwrap_or_default();
    !(below == Path::new("lib.rs") || below == Path::new("main.rs") || first == "bin")
}

fn below_src(path: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = path.iter().collect();
    let at = parts.iter().position(|part| *part == "src")?;
    Some(parts.iter().skip(at + 1).collect())
}

fn named_by_parent(tree: &Tree, path: &Path) -> bool {
    let (Some(stem), Some(folder)) = (path.file_stem(), path.parent()) else { return false };
    let (name, folder) = if stem == "mod" {
        let (Some(name), Some(above)) = (folder.file_name(), folder.parent()) else { return false };
        (name, above)
    } else {
        (stem, folder)
    };
    let mut parents = vec![folder.join("mod.rs"), folder.with_extension("rs")];
    if folder.ends_with("src") {
        parents.extend([folder.join("lib.rs"), folder.join("main.rs")]);
    }
    let wanted = format!("mod {};", name.to_string_lossy());
    parents.iter().filter_map(|parent| tree.text(&parent.to_string_lossy())).any(|text| {
        text.lines().any(|line| {
            let line = line.trim();
            line == wanted || line.ends_with(&format!(" {wanted}"))
        })
    })
}

/// Whether some `#[path = "..."]` names a file so called.
fn named_by_path(tree: &Tree, path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let end = format!("{}\"]", name.to_string_lossy());
    tree.rust().any(|(_, text)| {
        text.lines().any(|line| line.trim_start().starts_with("#[path") && line.contains(&end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_mod_line_is_an_orphan() {
        let tree = Tree::of(&[
            (
                "crates/a/src/lib.rs",
                "mod one;\npub mod two;\n#[path = \"odd/five.rs\"]\nmod odd;\n",
            ),
            ("crates/a/src/one.rs", "mod deep;\n"),
            ("crates/a/src/one/deep.rs", ""),
            ("crates/a/src/two/mod.rs", ""),
            ("crates/a/src/two/lost.rs", ""),
            ("crates/a/src/three.rs", ""),
            ("crates/a/src/odd/five.rs", ""),
            ("crates/a/src/bin/tool.rs", ""),
            ("crates/a/tests/prop_a.rs", ""),
        ]);
        let found: Vec<&Path> = orphans(&tree).collect();
        let wanted = ["crates/a/src/three.rs", "crates/a/src/two/lost.rs"].map(Path::new);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(wanted.iter().all(|path| found.contains(path)), "{found:?}");
    }
}

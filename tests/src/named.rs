//! Tables in documents that name tests and items of the sources, and whether those exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file at `path` from the root of the repository.
///
/// # Errors
/// It cannot be read.
pub fn document(path: &str) -> io::Result<String> {
    fs::read_to_string(root().join(path))
}

/// All Rust sources below `folder`, one behind the other, with text that goes on in the next line in one.
///
/// # Errors
/// One cannot be read.
pub fn texts(folder: &str) -> io::Result<String> {
    let mut all = String::new();
    for file in rust_files(&root().join(folder))? {
        let text = fs::read_to_string(file)?;
        for line in text.lines() {
            match line.strip_suffix('\\') {
                Some(part) => all.push_str(part.trim_start()),
                None => {
                    all.push_str(line.trim_start());
                    all.push('\n');
                }
            }
        }
    }
    Ok(all)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of the rows of all tables in a text, without their heads: the row over the dashes.
#[must_use]
pub fn table_rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |n: usize| lines.get(n).is_some_and(|line| line.starts_with("| -"));
    (0..lines.len())
        .filter(|&n| lines[n].starts_with("| ") && !is_rule(n) && !is_rule(n + 1))
        .map(|n| {
            let line = lines[n].trim_end();
            let inner = line.strip_prefix('|').unwrap_or(line);
            let inner = inner.strip_suffix('|').unwrap_or(inner);
            inner.split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands between backticks in a cell.
pub fn code_spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names that the Rust sources of the workspace give.
#[derive(Debug, Default)]
pub struct Sources {
    tests: BTreeSet<String>,
    /// By crate: what is declared outside of every type, and in the modules of each name.
    items: BTreeSet<(String, String)>,
    /// By crate and type or module: what is declared in it.
    members: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Sources {
    /// Reads all sources of the workspace.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read() -> io::Result<Self> {
        let mut sources = Self::default();
        for file in rust_files(&root().join("tests"))? {
            sources.note_tests(&fs::read_to_string(file)?);
        }
        for package in fs::read_dir(root().join("crates"))? {
            let package = package?;
            let name = package.file_name().to_string_lossy().into_owned();
            for file in rust_files(&package.path())? {
                let text = fs::read_to_string(&file)?;
                sources.note_tests(&text);
                if file.starts_with(package.path().join("src")) {
                    let module = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                    sources.note_items(&name, &module.unwrap_or_default(), &text);
                }
            }
        }
        Ok(sources)
    }

    /// Whether a function of this name is a test.
    #[must_use]
    pub fn has_test(&self, name: &str) -> bool {
        self.tests.contains(name)
    }

    /// Whether `path` names something: `crate::item`, or `crate::owner::member` with a type, a trait
    /// or a module as the owner, and a function, constant, field or variant as the member. The
    /// crate is named by its folder.
    #[must_use]
    pub fn has_item(&self, path: &str) -> bool {
        match path.split("::").collect::<Vec<_>>()[..] {
            [krate, item] => self.items.contains(&(krate.to_owned(), item.to_owned())),
            [krate, owner, member] => self
                .members
                .get(&(krate.to_owned(), owner.to_owned()))
                .is_some_and(|members| members.contains(member)),
            _ => false,
        }
    }

    fn note_tests(&mut self, text: &str) {
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            match declared(line) {
                Some((Kind::Function, name)) if is_test => {
                    self.tests.insert(name.to_owned());
                    is_test = false;
                }
                _ if line == "#[test]" => is_test = true,
                _ if line.starts_with("#[") || line.starts_with("//") => {}
                _ => is_test = false,
            }
        }
    }

    fn note_items(&mut self, krate: &str, module: &str, text: &str) {
        // Formatted text: what is in a block is four columns to the right of the block's first line,
        // and its last line begins under that.
        let mut owners: Vec<(usize, Option<String>)> = Vec::new();
        for line in text.lines() {
            let bare = line.trim_start();
            let column = line.len() - bare.len();
            if bare.is_empty() || bare.starts_with("//") || bare.starts_with('#') {
                continue;
            }
            while owners.last().is_some_and(|(at, _)| column <= *at) {
                owners.pop();
            }
            let direct = owners.last().is_none_or(|(at, _)| column == at + 4);
            if direct && let Some((_, name)) = declared(bare) {
                let owner = match owners.last() {
                    None => Some(module.to_owned()),
                    Some((_, owner)) => owner.clone(),
                };
                if owners.is_empty() || owner.is_none() {
                    self.items.insert((krate.to_owned(), name.to_owned()));
                }
                if let Some(owner) = owner {
                    let members = self.members.entry((krate.to_owned(), owner)).or_default();
                    members.insert(name.to_owned());
                }
            }
            if bare.ends_with('{') {
                owners.push((column, owner_of(bare)));
            }
        }
    }
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Other,
}

/// The line without what says who may use it and how.
fn without_qualifiers(line: &str) -> &str {
    let mut rest = line;
    loop {
        let mut shorter = rest;
        for word in ["pub ", "unsafe ", "async "] {
            shorter = shorter.strip_prefix(word).unwrap_or(shorter);
        }
        if let Some((_, after)) = shorter.strip_prefix("pub(").and_then(|r| r.split_once(") ")) {
            shorter = after;
        }
        if let Some(after) = shorter.strip_prefix("const ")
            && after.starts_with("fn ")
        {
            shorter = after;
        }
        if shorter == rest {
            return rest;
        }
        rest = shorter;
    }
}

fn identifier(text: &str) -> Option<&str> {
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// What a line declares: an item, a field or a variant.
fn declared(line: &str) -> Option<(Kind, &str)> {
    let line = without_qualifiers(line);
    if let Some(rest) = line.strip_prefix("fn ") {
        return Some((Kind::Function, identifier(rest)?));
    }
    for word in ["struct ", "enum ", "trait ", "type ", "const ", "static ", "mod "] {
        if let Some(rest) = line.strip_prefix(word) {
            return Some((Kind::Other, identifier(rest)?));
        }
    }
    let name = identifier(line)?;
    let rest = &line[name.len()..];
    let is_field = rest.starts_with(": ");
    let is_variant = name.starts_with(|c: char| c.is_ascii_uppercase())
        && (rest == ","
            || rest.starts_with(" {")
            || rest.starts_with('(')
            || rest.starts_with(" ="));
    (is_field || is_variant).then_some((Kind::Other, name))
}

/// Whose members a block holds: a type, trait or module.
fn owner_of(line: &str) -> Option<String> {
    let line = without_qualifiers(line);
    if let Some(rest) = line.strip_prefix("impl") {
        let target = match rest.split_once(" for ") {
            Some((_, target)) => target,
            // Past the parameters of the block itself.
            None if rest.starts_with('<') => rest.split_once("> ")?.1,
            None => rest.trim_start(),
        };
        return identifier(target).map(str::to_owned);
    }
    for word in ["struct ", "enum ", "trait ", "mod "] {
        if let Some(rest) = line.strip_prefix(word) {
            return identifier(rest).map(str::to_owned);
        }
    }
    // A macro that makes a type: its name before the bits.
    let name = identifier(line)?;
    (line[name.len()..] == *" {" && name.starts_with(|c: char| c.is_ascii_uppercase()))
        .then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_spans_are_read_without_their_frame() {
        let text = "text\n\n| a | b |\n| - | --- |\n| `x`, `y` | z |\n| | w |\n";
        let rows = table_rows(text);
        assert_eq!(rows, [["`x`, `y`", "z"], ["", "w"]]);
        assert_eq!(code_spans(&rows[0][0]).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(
            code_spans("no `").count(),
            1,
            "a span that nobody ends is one that does not exist"
        );
    }

    #[test]
    fn items_are_found_where_they_are_declared() {
        let mut sources = Sources::default();
        let text = "\
pub const N: u32 = 1;
/// A type.
pub struct Pair<'a> {
    /// One half.
    pub(crate) left: u32,
    right: &'a u32,
}
impl<'a> Pair<'a> {
    pub const fn sum(self) -> u32 {
        let inner: u32 = 1;
        self.left + inner
    }
}
impl Named for Pair<'_> {
    fn name(&self) -> &str {
        \"pair\"
    }
}
enum Way {
    Left,
    Right { far: bool },
}
features! {
    Mask {
        DIRTY = 0,
    }
}
#[test]
/// A word between.
fn it_works() {}
";
        sources.note_items("one", "pair", text);
        sources.note_tests(text);
        for path in [
            "one::N",
            "one::pair::N",
            "one::Pair",
            "one::Pair::left",
            "one::Pair::right",
            "one::Pair::sum",
            "one::Pair::name",
            "one::Way::Right",
            "one::Mask::DIRTY",
        ] {
            assert!(sources.has_item(path), "{path}");
        }
        for path in ["two::N", "one::left", "one::Pair::inner", "one::Pair::far", "one", "N"] {
            assert!(!sources.has_item(path), "{path}");
        }
        assert!(sources.has_test("it_works") && !sources.has_test("sum"));
    }
}

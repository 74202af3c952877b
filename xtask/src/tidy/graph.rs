//! The crate graph: ARCHITECTURE.md draws every edge, and there are no others and no cycles.
//!
//! An edge is a normal dependency of a crate under `crates/` on another, by the names of their folders.
//! Dependencies of tests are no edges; the test kit may only be one of those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;

use super::{Finding, tree::Tree};
use crate::workspace::Workspace;

const FILE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- graph:begin -->";
const END: &str = "<!-- graph:end -->";
const TESTKIT: &str = "testkit";

/// Crate to the crates it stands on.
type Graph = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Result<Vec<Finding>> {
    let real = of_manifests(workspace);
    let mut findings = Vec::new();
    for (name, on) in &real {
        if on.contains(TESTKIT) {
            findings.push(Finding::error(format!("{name} depends on {TESTKIT} outside its tests")));
        }
    }
    if let Some(cycle) = cycle(&real) {
        findings.push(Finding::error(format!("the crates go in a circle: {}", cycle.join(" -> "))));
    }
    findings.extend(compare(tree.text(FILE), &real));
    Ok(findings)
}

fn of_manifests(workspace: &Workspace) -> Graph {
    let crates = workspace.crates();
    let folder_of: BTreeMap<&str, String> =
        crates.iter().map(|package| (package.name.as_str(), package.short_name())).collect();
    crates
        .iter()
        .map(|package| {
            let on = package
                .dependencies
                .iter()
                .filter(|dependency| !dependency.dev)
                .filter_map(|dependency| folder_of.get(dependency.name.as_str()).cloned())
                .collect();
            (package.short_name(), on)
        })
        .collect()
}

/// What ARCHITECTURE.md says against what the manifests say.
fn compare(architecture: Option<&str>, real: &Graph) -> Vec<Finding> {
    let expected = || format!("it must hold:\n{}", table(real));
    let Some(text) = architecture else {
        return vec![Finding::error(format!("there is no {FILE}; {}", expected()))];
    };
    let drawn = match parse(text) {
        Ok(drawn) => drawn,
        Err(why) => return vec![Finding::error(format!("{FILE}: {why}; {}", expected()))],
    };
    let mut findings = Vec::new();
    for name in real.keys().chain(drawn.keys()).collect::<BTreeSet<_>>() {
        let text = match (real.get(name), drawn.get(name)) {
            (Some(on), Some(drawn)) if on == drawn => continue,
            (Some(on), Some(drawn)) => {
                format!("{name} is on [{}], drawn on [{}]", joined(on), joined(drawn))
            }
            (Some(_), None) => format!("{name} is not drawn"),
            (None, _) => format!("{name} is drawn and does not exist"),
        };
        findings.push(Finding::error(format!("{FILE}: {text}")));
    }
    if !findings.is_empty() {
        findings.push(Finding::error(expected()));
    }
    findings
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The table that is expected, ready to be copied: a crate below those it is on.
fn table(graph: &Graph) -> String {
    let mut text = format!("{BEGIN}\n| crate | on |\n|---|---|\n");
    for name in ranked(graph) {
        let on = graph.get(&name).map(joined).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {name} | {} |", if on.is_empty() { "-" } else { &on });
    }
    text + END
}

/// Names by depth, then alphabet.
fn ranked(graph: &Graph) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut rest: BTreeSet<&String> = graph.keys().collect();
    while !rest.is_empty() {
        let ready: Vec<&String> = rest
            .iter()
            .filter(|name| {
                graph.get(**name).is_none_or(|on| on.iter().all(|below| order.contains(below)))
            })
            .copied()
            .collect();
        // In a circle nothing is ready; then all that is left is as good as sorted.
        let next = if ready.is_empty() { rest.iter().copied().collect() } else { ready };
        for name in next {
            rest.remove(name);
            order.push(name.clone());
        }
    }
    order
}

/// Reads the table between the markers.
fn parse(text: &str) -> Result<Graph, String> {
    let (_, after) = text.split_once(BEGIN).ok_or_else(|| format!("no {BEGIN}"))?;
    let (body, _) = after.split_once(END).ok_or_else(|| format!("no {END}"))?;
    let mut graph = Graph::new();
    for line in body.lines().map(str::trim).filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, on, ..] = cells.as_slice() else {
            return Err(format!("the row {line:?} has fewer than two cells"));
        };
        let name = name.trim_matches('`');
        if name == "crate" || name.chars().all(|c| matches!(c, '-' | ':')) {
            continue;
        }
        let names = |cell: &str| {
            cell.split([' ', ','])
                .map(|word| word.trim_matches('`'))
                .filter(|word| !word.is_empty() && *word != "-")
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        for name in names(name) {
            if graph.insert(name.clone(), names(on)).is_some() {
                return Err(format!("{name} has two rows"));
            }
        }
    }
    Ok(graph)
}

/// Some circle of the graph, its first name repeated at the end.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    fn walk<'a>(
        graph: &'a Graph,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(from) = path.iter().position(|seen| *seen == name) {
            let circle = path.iter().skip(from).chain([&name]);
            return Some(circle.map(|name| (*name).to_owned()).collect());
        }
        if !done.insert(name) {
            return None;
        }
        path.push(name);
        let found =
            graph.get(name).into_iter().flatten().find_map(|on| walk(graph, on, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|name| walk(graph, name, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        edges
            .iter()
            .map(|(name, on)| {
                ((*name).to_owned(), on.split_whitespace().map(str::to_owned).collect())
            })
            .collect()
    }

    #[test]
    fn the_table_that_is_asked_for_is_accepted() {
        let real = graph(&[("units", ""), ("format", "units"), ("mapping", "format units")]);
        let text = format!("# Architecture\n\n{}\n\nmore", table(&real));
        assert_eq!(compare(Some(&text), &real), []);
        assert!(text.contains("| units | - |\n| format | units |\n| mapping | format units |"));
    }

    #[test]
    fn missing_wrong_and_superfluous_rows_are_found() {
        let real = graph(&[("units", ""), ("format", "units"), ("cache", "units")]);
        let drawn = graph(&[("units", ""), ("format", ""), ("gone", "units")]);
        let texts: Vec<String> =
            compare(Some(&table(&drawn)), &real).into_iter().map(|f| f.text).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("cache is not drawn")));
        assert!(texts.iter().any(|text| text.contains("format is on [units], drawn on []")));
        assert!(texts.iter().any(|text| text.contains("gone is drawn and does not exist")));
    }

    #[test]
    fn without_a_file_or_markers_the_whole_table_is_shown() {
        let real = graph(&[("units", "")]);
        for text in [None, Some("no markers")] {
            let findings = compare(text, &real);
            let [finding] = findings.as_slice() else { panic!("{findings:?}") };
            assert!(finding.text.contains("| units | - |"), "{}", finding.text);
        }
    }

    #[test]
    fn a_circle_is_found_and_a_diamond_is_none() {
        let diamond = graph(&[("a", "b c"), ("b", "d"), ("c", "d"), ("d", "")]);
        assert_eq!(cycle(&diamond), None);
        let circle = graph(&[("a", "b"), ("b", "c"), ("c", "b")]);
        assert_eq!(cycle(&circle), Some(vec!["b".into(), "c".into(), "b".into()]));
    }
}

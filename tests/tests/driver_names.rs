//! The table of the names of the driver header of 2013 in `ARCHITECTURE.md`: what it names exists.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use holstein_tests::{Sources, code_spans, document, table_rows};

/// How many names the header has: constants, structures and their fields, inline functions and
/// functions, as the table lists them.
const NAMES: usize = 187;

#[test]
fn each_name_of_the_header_of_2013_has_an_item_and_a_test_that_exist() -> std::io::Result<()> {
    let text = document("ARCHITECTURE.md")?;
    let table = text
        .split_once("<!-- names:begin -->")
        .and_then(|(_, rest)| rest.split_once("<!-- names:end -->"))
        .map(|(table, _)| table)
        .expect("the table stands between its marks");
    let sources = Sources::read()?;
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in table_rows(table) {
        let [theirs, ours, tests] = &row[..] else {
            wrong.push(format!("a row of {} cells: {row:?}", row.len()));
            continue;
        };
        for name in code_spans(theirs) {
            if !names.insert(name.to_owned()) {
                wrong.push(format!("{name} stands twice"));
            }
        }
        let items: Vec<&str> = code_spans(ours).filter(|span| span.contains("::")).collect();
        if items.is_empty() {
            wrong.push(format!("{theirs}: no item of ours"));
        }
        wrong.extend(
            items
                .iter()
                .filter(|item| !sources.has_item(item))
                .map(|item| format!("{theirs}: {item} does not exist")),
        );
        if code_spans(tests).next().is_none() {
            wrong.push(format!("{theirs}: no test"));
        }
        wrong.extend(
            code_spans(tests)
                .filter(|test| !sources.has_test(test))
                .map(|test| format!("{theirs}: the test {test} does not exist")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(names.len(), NAMES, "names were left out or added");
    Ok(())
}

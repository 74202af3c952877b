//! Distinguished names as text, as rules about clients have them: in the order in which the certificate
//! has the parts, with the short names that GnuTLS gives to kinds.
//!
//! # Spec
//! RFC 4514, but for the order.

use std::fmt::Write;

use crate::der::{Element, Elements, tag};

/// Kinds of parts under 2.5.4 whose values have to be of a few characters.
const PRINTABLE_KINDS: [u8; 3] = [5, 6, 46];
/// Kinds of parts under 2.5.4, by their last number.
const KINDS: [(u8, &str); 19] = [
    (3, "CN"),
    (4, "surName"),
    (5, "serialNumber"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (9, "street"),
    (10, "O"),
    (11, "OU"),
    (12, "title"),
    (13, "description"),
    (15, "businessCategory"),
    (17, "postalCode"),
    (41, "name"),
    (42, "givenName"),
    (43, "initials"),
    (44, "generationQualifier"),
    (46, "dnQualifier"),
    (65, "pseudonym"),
];

/// Kinds that are elsewhere.
const OTHER_KINDS: [(&[u8], &str); 3] = [
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "EMAIL"),
];

/// A name as text; nothing if the bytes are none.
pub(crate) fn text_of(name: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut parts = Elements::new(name).enter(tag::SEQUENCE)?;
    while let Some(mut values) = parts.enter(tag::SET) {
        let mut separator = if text.is_empty() { "" } else { "," };
        while let Some(mut value) = values.enter(tag::SEQUENCE) {
            text.push_str(separator);
            separator = "+";
            push_value(&mut text, value.element(tag::OBJECT)?.content, value.next()?)?;
        }
    }
    Some(text)
}

/// Adds `kind=value`. A value of a kind without a name, or that is not the text that the kind asks for, is
/// shown as its bytes.
fn push_value(text: &mut String, kind: &[u8], value: Element<'_>) -> Option<()> {
    let known = match kind {
        [0x55, 0x04, last] => {
            KINDS.iter().find(|(number, _)| number == last).map(|(_, name)| *name)
        }
        _ => OTHER_KINDS.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name),
    };
    let is_fit = match (kind, known) {
        ([0x55, 0x04, last], _) if PRINTABLE_KINDS.contains(last) => {
            value.tag == tag::PRINTABLE_STRING
        }
        (_, Some("DC" | "EMAIL")) => value.tag == tag::IA5_STRING,
        _ => true,
    };
    match (known, words(value).filter(|_| is_fit)) {
        (Some(name), Some(words)) => {
            text.push_str(name);
            text.push('=');
            push_escaped(text, &words);
        }
        (name, _) => {
            match name {
                Some(name) => text.push_str(name),
                None => push_numbers(text, kind)?,
            }
            text.push_str("=#");
            value.whole.iter().try_for_each(|byte| write!(text, "{byte:02x}")).ok()?;
        }
    }
    Some(())
}

fn words(value: Element<'_>) -> Option<String> {
    match value.tag {
        tag::UTF8_STRING | tag::NUMERIC_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => {
            std::str::from_utf8(value.content).ok().map(str::to_owned)
        }
        tag::TELETEX_STRING => Some(value.content.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

fn push_escaped(text: &mut String, words: &str) {
    let last = words.chars().count().saturating_sub(1);
    for (at, letter) in words.chars().enumerate() {
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (letter == '#' && at == 0)
            || (letter == ' ' && (at == 0 || at == last));
        if special {
            text.push('\\');
        }
        text.push(letter);
    }
}

/// The identifier of an object in numbers.
fn push_numbers(text: &mut String, identifier: &[u8]) -> Option<()> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in identifier {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let (first, rest) = numbers.split_first()?;
    let top = (first / 40).min(2);
    write!(text, "{top}.{}", first - 40 * top).ok()?;
    rest.iter().try_for_each(|number| write!(text, ".{number}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).expect("it is short")], content].concat()
    }

    fn part(values: &[(&[u8], u8, &str)]) -> Vec<u8> {
        let values = values.iter().map(|(kind, tag, text)| {
            let value = [element(super::tag::OBJECT, kind), element(*tag, text.as_bytes())];
            element(super::tag::SEQUENCE, &value.concat())
        });
        element(super::tag::SET, &values.collect::<Vec<_>>().concat())
    }

    #[test]
    fn names_are_those_that_gnutls_prints() {
        let text = |parts: &[Vec<u8>]| text_of(&element(tag::SEQUENCE, &parts.concat()));
        let (utf8, printable) = (tag::UTF8_STRING, tag::PRINTABLE_STRING);
        let cn = [0x55, 4, 3];
        assert_eq!(
            text(&[
                part(&[(&[0x55, 4, 6], printable, "South Pacific")]),
                part(&[(&[0x55, 4, 7], utf8, "R'lyeh")]),
                part(&[(&[0x55, 4, 10], utf8, "Cthulhu, Dark Lord + Co")]),
                part(&[(&cn, utf8, "client 1"), (&[0x55, 4, 11], utf8, "y")]),
            ])
            .as_deref(),
            Some(r"C=South Pacific,L=R'lyeh,O=Cthulhu\, Dark Lord \+ Co,CN=client 1+OU=y")
        );
        for (value, shown) in [
            ("#hash", r"CN=\#hash"),
            (" lead", r"CN=\ lead"),
            ("trail ", r"CN=trail\ "),
            (r#"a"b<c>d;e=f\g?h*i#j/k:l'm"#, r#"CN=a\"b\<c\>d\;e=f\\g?h*i#j/k:l'm"#),
            ("Jürgen", "CN=Jürgen"),
        ] {
            assert_eq!(text(&[part(&[(&cn, utf8, value)])]).as_deref(), Some(shown));
        }
        let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
        let mail = part(&[(&email, tag::IA5_STRING, "a@b.c")]);
        assert_eq!(text(&[mail]).as_deref(), Some("EMAIL=a@b.c"));
        let country = part(&[(&[0x55, 4, 6], utf8, "XY")]);
        assert_eq!(text(&[country]).as_deref(), Some("C=#0c025859"));
        let unstructured = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2];
        let other = part(&[(&unstructured, utf8, "un")]);
        assert_eq!(text(&[other]).as_deref(), Some("1.2.840.113549.1.9.2=#0c02756e"));
        assert_eq!(text(&[]).as_deref(), Some(""));
        assert_eq!(text_of(b"no name"), None);
    }
}

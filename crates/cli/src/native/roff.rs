//! Text in the language of manual pages, man(7).

/// Plain text as it is printed: signs that the language means otherwise are named.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, sign) in text.chars().enumerate() {
        match sign {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            // At the start of a line it would begin a request.
            '.' if index == 0 => out.push_str("\\&."),
            other => out.push(other),
        }
    }
    out
}

/// Bold text.
pub(super) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// Text in italics, for what stands for something else.
pub(super) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_the_language_are_named() {
        assert_eq!(escaped("-a 'b' c\\d"), "\\-a \\(aqb\\(aq c\\ed");
        assert_eq!(escaped(".hidden"), "\\&.hidden");
        assert_eq!(escaped("a.b ~/c"), "a.b \\(ti/c");
        assert_eq!(bold("-f"), "\\fB\\-f\\fR");
    }
}

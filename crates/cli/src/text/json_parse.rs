//! Reads JSON as the reference does: double or single quotes, keys in order, bounded depth.

use super::Json;

/// Arrays and objects may nest this deep.
const MAX_DEPTH: usize = 1024;

/// Reads one value with nothing but blanks around it.
///
/// # Errors
/// What is wrong, as the reference words it.
pub(crate) fn parse_json(text: &str) -> Result<Json, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err("Expecting at most one JSON value".to_owned()),
    }
}

/// The text for input that ends inside a value.
const PREMATURE: &str = "JSON parse error, premature EOI";

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    fn take_while(&mut self, mut keep: impl FnMut(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err("JSON nesting depth limit exceeded".to_owned());
        }
        self.blanks();
        match self.peek() {
            None if depth == 0 => Err("Expecting a JSON value".to_owned()),
            None => Err(PREMATURE.to_owned()),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"' | '\'') => self.string().map(Json::Str),
            Some('-' | '0'..='9') => self.number(),
            Some('a'..='z') => {
                let word = self.take_while(|c| c.is_ascii_lowercase()).to_owned();
                match word.as_str() {
                    "true" => Ok(Json::Bool(true)),
                    "false" => Ok(Json::Bool(false)),
                    "null" => Ok(Json::Null),
                    _ => Err(format!("JSON parse error, invalid keyword '{word}'")),
                }
            }
            Some(c) => Err(format!("JSON parse error, stray '{c}'")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut entries: Vec<(String, Json)> = Vec::new();
        self.blanks();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Json::Map(entries));
        }
        loop {
            self.blanks();
            let key = match self.peek() {
                Some('"' | '\'') => self.string()?,
                Some('a'..='z') => {
                    // A bad word is named; a good one is no key either.
                    self.value(depth + 1)?;
                    return Err("JSON parse error, key is not a string in object".to_owned());
                }
                None => return Err(PREMATURE.to_owned()),
                _ => return Err("JSON parse error, key is not a string in object".to_owned()),
            };
            self.blanks();
            match self.next() {
                Some(':') => {}
                None => return Err(PREMATURE.to_owned()),
                Some(_) => return Err("JSON parse error, missing : in object pair".to_owned()),
            }
            let value = self.value(depth + 1)?;
            if entries.iter().any(|(known, _)| *known == key) {
                return Err("JSON parse error, duplicate key".to_owned());
            }
            entries.push((key, value));
            self.blanks();
            match self.next() {
                Some(',') => {}
                Some('}') => return Ok(Json::Map(entries)),
                None => return Err(PREMATURE.to_owned()),
                _ => return Err("JSON parse error, expected separator in dict".to_owned()),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.next() {
                Some(',') => {}
                Some(']') => return Ok(Json::List(items)),
                None => return Err(PREMATURE.to_owned()),
                _ => return Err("JSON parse error, expected separator in list".to_owned()),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        let quote = self.next();
        let mut out = String::new();
        loop {
            let Some(c) = self.next() else {
                return Err(format!("JSON parse error, stray '{}'", &self.text[start..]));
            };
            if Some(c) == quote {
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match self.next() {
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\'' | '\\' | '/')) => out.push(c),
                Some('u') => out.push(self.escape()?),
                _ => return Err("JSON parse error, invalid escape sequence in string".to_owned()),
            }
        }
    }

    /// The character of `\uXXXX`, whose `\u` was read, joined with a second one where it is a pair.
    fn escape(&mut self) -> Result<char, String> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if self.next() != Some('\\') || self.next() != Some('u') {
                return Err("JSON parse error, unpaired surrogate in string".to_owned());
            }
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err("JSON parse error, unpaired surrogate in string".to_owned());
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code)
            .filter(|c| *c != '\0')
            .ok_or_else(|| "JSON parse error, invalid code point in string".to_owned())
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or("JSON parse error, invalid hex escape sequence in string")?;
            code = code * 16 + digit;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Json, String> {
        let text =
            self.take_while(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
        if let Ok(whole) = text.parse::<i128>()
            && (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&whole)
            && !text.starts_with('+')
        {
            return Ok(Json::Int(whole));
        }
        text.parse().map(Json::Float).map_err(|_| "JSON parse error, stray number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_quotes_and_escapes_are_read() {
        let value = parse_json(r#" {'a': "\u00e9\ud83d\ude00\n", "b": [1, -2, true, null]} "#);
        assert_eq!(
            value,
            Ok(Json::map([
                ("a", "é😀\n".into()),
                ("b", Json::List(vec![1u64.into(), Json::Int(-2), Json::Bool(true), Json::Null])),
            ]))
        );
    }

    #[test]
    fn a_bad_word_is_named() {
        let error = parse_json("{bad").expect_err("a bare word is no key");
        assert_eq!(error, "JSON parse error, invalid keyword 'bad'");
    }

    #[test]
    fn deep_nesting_ends_in_an_error() {
        assert!(parse_json(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in ".{0,20}", number in any::<i64>()) {
            prop_assume!(!text.contains('\0'));
            let value = Json::map([("t", text.into()), ("n", number.into())]);
            prop_assert_eq!(parse_json(&value.pretty()), Ok(value.clone()));
            prop_assert_eq!(parse_json(&value.compact()), Ok(value));
        }

        #[test]
        fn any_text_gives_an_answer(text in "[\\[\\]{}:,\"'a-z0-9\\\\ u.-]{0,40}") {
            let _ = parse_json(&text);
        }
    }
}

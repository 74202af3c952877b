//! Objects given by `--object`: the secrets.

use std::fs::File;
use std::io::{self, Read};

use holstein::Secret;

use crate::disk::DiskError;
use crate::text::{Json, parse_json, parse_list};

/// Secrets by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    secrets: Vec<(String, Secret)>,
}

/// What reading an `--object` argument comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object was added.
    Added,
    /// Help was asked for; the text goes to standard output and the program ends well.
    Help(String),
}

/// A file with more bytes is none with a secret in it.
const MAX_SECRET: usize = 8 << 20;

const TYPES_HELP: &str = "List of user creatable objects:\n  secret\n";

const SECRET_HELP: &str = "secret options:\n  data=<string>\n  file=<string>\n  \
                           format=<QCryptoSecretFormat>\n  iv=<string>\n  keyid=<string>\n";

impl Objects {
    /// Reads every `--object` argument of a command line.
    ///
    /// # Errors
    /// As for [`Objects::add`].
    pub(crate) fn parse(arguments: &[String]) -> Result<(Self, Outcome), DiskError> {
        let mut objects = Self::default();
        for argument in arguments {
            if let help @ Outcome::Help(_) = objects.add(argument)? {
                return Ok((objects, help));
            }
        }
        Ok((objects, Outcome::Added))
    }

    /// Adds the object of one argument: `TYPE,id=ID,key=value...` or a JSON object.
    ///
    /// # Errors
    /// Says which parameter is missing, unknown or wrong, or which file cannot be read.
    pub(crate) fn add(&mut self, argument: &str) -> Result<Outcome, DiskError> {
        let mut properties = if argument.starts_with('{') {
            json_properties(argument)?
        } else {
            match list_properties(argument)? {
                Listed::Properties(properties) => properties,
                Listed::Help(text) => return Ok(Outcome::Help(text.to_owned())),
            }
        };
        let mut take = |key: &str| {
            let at = properties.iter().position(|(known, _)| known == key)?;
            Some(properties.remove(at).1)
        };
        let kind = take("qom-type").ok_or_else(|| missing("qom-type"))?;
        let id = take("id").ok_or_else(|| missing("id"))?;
        match kind.as_str() {
            "secret" => {}
            "secret_keyring" | "tls-creds-x509" | "tls-creds-psk" | "tls-creds-anon"
            | "authz-simple" | "authz-list" | "authz-list-file" | "throttle-group" => {
                return Err(DiskError::unsupported(format!(
                    "object type '{kind}' is not available in this version"
                )));
            }
            _ => {
                return Err(DiskError::invalid(format!(
                    "Parameter 'qom-type' does not accept value '{kind}'"
                )));
            }
        }
        let (data, file, format) = (take("data"), take("file"), take("format"));
        let (keyid, iv) = (take("keyid"), take("iv"));
        if let Some((unknown, _)) = properties.first() {
            return Err(DiskError::invalid(format!("Parameter '{unknown}' is unexpected")));
        }
        let base64 = match format.as_deref() {
            None | Some("raw") => false,
            Some("base64") => true,
            Some(other) => {
                return Err(DiskError::invalid(format!(
                    "Parameter 'format' does not accept value '{other}'"
                )));
            }
        };
        if !is_identifier(&id) {
            let error = DiskError::invalid("Parameter 'id' expects an identifier");
            return Err(error.with_hint(
                "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
            ));
        }
        if self.secret(&id).is_ok() {
            return Err(DiskError::invalid(format!(
                "attempt to add duplicate property '{id}' to object (type 'container')"
            )));
        }
        let payload = payload(data, file)?;
        let mut secret = if base64 { decode_base64(payload.bytes())? } else { payload };
        if let Some(keyid) = keyid {
            let key = self.secret(&keyid)?;
            let iv = iv.ok_or_else(|| DiskError::invalid("IV is required to decrypt secret"))?;
            let iv = decode_base64(iv.as_bytes())?;
            secret = secret.unwrap_with(key, iv.bytes()).map_err(DiskError::fragment)?;
        }
        self.secrets.push((id, secret));
        Ok(Outcome::Added)
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn secret(&self, id: &str) -> Result<&Secret, DiskError> {
        let found = self.secrets.iter().find(|(known, _)| known == id);
        found
            .map(|(_, secret)| secret)
            .ok_or_else(|| DiskError::invalid(format!("No secret with id '{id}'")))
    }

    /// The secret of that name, which is the value of `option`, as the passphrase of an image.
    ///
    /// # Errors
    /// No secret was named, there is none of that name, or it is no text.
    pub(crate) fn passphrase(&self, option: &str, id: Option<&str>) -> Result<Secret, DiskError> {
        let id = id.ok_or_else(|| {
            DiskError::invalid(format!("Parameter '{option}' is required for cipher"))
        })?;
        let secret = self.secret(id)?;
        match std::str::from_utf8(secret.bytes()) {
            Ok(text) if !text.contains('\0') => Ok(secret.clone()),
            _ => Err(DiskError::invalid(format!("Data from secret {id} is not valid UTF-8"))),
        }
    }
}

fn missing(parameter: &str) -> DiskError {
    DiskError::invalid(format!("Parameter '{parameter}' is missing"))
}

/// Letters, digits, `-`, `.` and `_`, with a letter first.
fn is_identifier(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

enum Listed {
    Properties(Vec<(String, String)>),
    Help(&'static str),
}

/// Properties of `TYPE,key=value...`; the first entry without a key is the type.
fn list_properties(argument: &str) -> Result<Listed, DiskError> {
    let mut properties: Vec<(String, String)> = Vec::new();
    for (index, pair) in parse_list(argument).into_iter().enumerate() {
        let (key, value) = match pair.value {
            Some(value) => (pair.key, value),
            None if index == 0 && matches!(pair.key.as_str(), "help" | "?") => {
                return Ok(Listed::Help(TYPES_HELP));
            }
            None if index == 0 && !pair.key.is_empty() => ("qom-type".to_owned(), pair.key),
            None if matches!(pair.key.as_str(), "help" | "?") => {
                return match properties.first() {
                    Some((_, kind)) if kind == "secret" => Ok(Listed::Help(SECRET_HELP)),
                    _ => Ok(Listed::Help(TYPES_HELP)),
                };
            }
            None => {
                return Err(DiskError::invalid(if pair.key.is_empty() {
                    "Invalid parameter ''".to_owned()
                } else {
                    format!("Expected '=' after parameter '{}'", pair.key)
                }));
            }
        };
        properties.retain(|(known, _)| *known != key);
        properties.push((key, value));
    }
    Ok(Listed::Properties(properties))
}

/// Properties of a JSON object, whose values have to be strings.
fn json_properties(argument: &str) -> Result<Vec<(String, String)>, DiskError> {
    let Json::Map(entries) = parse_json(argument).map_err(DiskError::invalid)? else {
        return Err(DiskError::invalid("Invalid JSON object given"));
    };
    entries
        .into_iter()
        .map(|(key, value)| match value {
            Json::Str(text) => Ok((key, text)),
            _ => Err(DiskError::invalid(format!(
                "Invalid parameter type for '{key}', expected: string"
            ))),
        })
        .collect()
}

/// The bytes of a secret, from the command line or all of a file.
fn payload(data: Option<String>, file: Option<String>) -> Result<Secret, DiskError> {
    match (data, file) {
        (Some(_), Some(_)) => Err(DiskError::invalid("'file' and 'data' are mutually exclusive")),
        (None, None) => Err(DiskError::invalid("Either 'file' or 'data' must be provided")),
        (Some(data), None) => Ok(Secret::new(data.into_bytes())),
        (None, Some(path)) => {
            let failed = |step: &str| {
                let step = format!("Unable to read {path}: {step} file \u{201c}{path}\u{201d}: ");
                move |error: io::Error| {
                    let error = DiskError::from(error);
                    DiskError::new(error.errno(), format!("{step}{error}"))
                }
            };
            let file = File::open(&path).map_err(failed("Failed to open"))?;
            read_secret(file).map_err(failed("Error reading"))
        }
    }
}

/// Reads all of a file, leaving no copy of it behind in memory.
fn read_secret(mut file: impl Read) -> io::Result<Secret> {
    let mut secret = Secret::new(vec![0; 4096]);
    let mut len = 0;
    loop {
        let got = match file.read(&mut secret.bytes_mut()[len..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            got => got?,
        };
        if got == 0 {
            secret.truncate(len);
            return Ok(secret);
        }
        len += got;
        if len == secret.bytes().len() {
            if len >= MAX_SECRET {
                return Err(io::Error::from_raw_os_error(libc::EFBIG));
            }
            let mut larger = Secret::new(vec![0; 2 * len]);
            larger.bytes_mut()[..len].copy_from_slice(secret.bytes());
            secret = larger;
        }
    }
}

/// Decodes base64; line ends are skipped, and so is what is left over behind the last group of four.
fn decode_base64(text: &[u8]) -> Result<Secret, DiskError> {
    let invalid = || DiskError::invalid("Base64 data contains invalid characters");
    // Large enough never to move.
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count, mut padding) = (0u32, 0, 0);
    for byte in text.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        let six = match byte {
            b'=' => 0,
            _ if padding > 0 => return Err(invalid()),
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(invalid()),
        };
        padding += usize::from(*byte == b'=');
        bits = bits << 6 | u32::from(six);
        count += 1;
        if count == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding.min(2)]);
            (bits, count) = (0, 0);
        }
    }
    Ok(Secret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(argument: &str) -> Result<Objects, String> {
        let mut objects = Objects::default();
        objects.add(argument).map_err(|error| error.to_string())?;
        Ok(objects)
    }

    #[test]
    fn a_secret_is_kept_in_both_forms() {
        for argument in
            ["secret,id=s0,data=a,,b", r#"{"qom-type": "secret", "id": "s0", "data": "a,b"}"#]
        {
            let objects = add(argument).expect("the secret is well formed");
            assert_eq!(objects.secret("s0").expect("it was added").bytes(), b"a,b");
        }
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in
            [("aHVudGVyMg==", "hunter2"), ("YWI=", "ab"), ("YWJj", "abc"), ("YWJjZGU", "abc")]
        {
            let objects = add(&format!("secret,id=s,format=base64,data={text}"));
            let objects = objects.expect("the secret is well formed");
            let secret = objects.secret("s").expect("it was added");
            assert_eq!(secret.bytes(), bytes.as_bytes());
        }
    }

    #[test]
    fn a_secret_is_read_whole_up_to_a_limit_and_never_shown() {
        for len in [0, 1, 4095, 4096, 4097, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let secret = read_secret(bytes.as_slice()).expect("memory does not fail");
            assert!(secret.bytes() == bytes, "{len} bytes");
        }
        let error = read_secret(io::repeat(7)).expect_err("it has no end");
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
        let objects = add("secret,id=s0,data=hunter2").expect("the secret is well formed");
        assert!(!format!("{objects:?}").contains("hunter2"));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (argument, text) in [
            ("nosuch,id=s0", "Parameter 'qom-type' does not accept value 'nosuch'"),
            ("secret,id=s0", "Either 'file' or 'data' must be provided"),
            ("secret,id=s0,data=a,file=b", "'file' and 'data' are mutually exclusive"),
            ("secret,id=s0,data=a,foo=b", "Parameter 'foo' is unexpected"),
            ("secret,data=a", "Parameter 'id' is missing"),
            ("id=a", "Parameter 'qom-type' is missing"),
            ("secret,id=9,data=a", "Parameter 'id' expects an identifier"),
            ("secret,id=s,data=a,format=x", "Parameter 'format' does not accept value 'x'"),
            ("secret,id=s,data=!,format=base64", "Base64 data contains invalid characters"),
            ("secret,id=s,data=a,keyid=x", "No secret with id 'x'"),
        ] {
            assert_eq!(add(argument).err().as_deref(), Some(text), "{argument}");
        }
    }
}

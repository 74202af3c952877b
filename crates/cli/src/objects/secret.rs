//! Secrets: bytes of the command line or of a file.

use std::fs::File;
use std::io::{self, Read};

use holstein::Secret;

use super::Objects;
use super::properties::{Properties, bad_value};
use crate::disk::DiskError;

/// A file with more bytes is none with a secret in it.
const MAX_SECRET: usize = 8 << 20;

/// How the payload of a secret is to be understood.
pub(super) struct Description {
    data: Option<String>,
    file: Option<String>,
    base64: bool,
    keyid: Option<String>,
    iv: Option<String>,
}

impl Description {
    /// Takes the properties of a secret.
    ///
    /// # Errors
    /// One of them is unknown or wrong.
    pub(super) fn take(properties: &mut Properties) -> Result<Self, DiskError> {
        let (data, file) = (properties.text("data")?, properties.text("file")?);
        let format = properties.text("format")?;
        let (keyid, iv) = (properties.text("keyid")?, properties.text("iv")?);
        properties.end()?;
        let base64 = match format.as_deref() {
            None | Some("raw") => false,
            Some("base64") => true,
            Some(other) => return Err(bad_value("format", other)),
        };
        Ok(Self { data, file, base64, keyid, iv })
    }

    /// Reads the secret, with the help of another one where it is encrypted.
    ///
    /// # Errors
    /// Its bytes cannot be had.
    pub(super) fn read(self, others: &Objects) -> Result<Secret, DiskError> {
        let payload = payload(self.data, self.file)?;
        let mut secret = if self.base64 { decode_base64(payload.bytes())? } else { payload };
        if let Some(keyid) = self.keyid {
            let key = others.secret(&keyid)?;
            let iv =
                self.iv.ok_or_else(|| DiskError::invalid("IV is required to decrypt secret"))?;
            let iv = decode_base64(iv.as_bytes())?;
            secret = secret.unwrap_with(key, iv.bytes()).map_err(DiskError::fragment)?;
        }
        Ok(secret)
    }
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

    #[test]
    fn a_secret_is_read_whole_up_to_a_limit() {
        for len in [0, 1, 4095, 4096, 4097, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let secret = read_secret(bytes.as_slice()).expect("memory does not fail");
            assert!(secret.bytes() == bytes, "{len} bytes");
        }
        let error = read_secret(io::repeat(7)).expect_err("it has no end");
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }
}

//! What a certificate says about itself, as far as rules about credentials ask.
//!
//! Whether any of it is true is found out by those who check signatures.

use crate::der::{Element, Elements, tag};

/// Bits of key usage, of the first byte.
pub(crate) mod usage {
    /// Signing.
    pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
    /// Encrypting keys.
    pub(crate) const KEY_ENCIPHERMENT: u8 = 0x20;
    /// Signing certificates.
    pub(crate) const CERT_SIGN: u8 = 0x04;
}

/// Purposes, as identifiers of objects.
pub(crate) mod purpose {
    /// To be a server.
    pub(crate) const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    /// To be a client.
    pub(crate) const CLIENT: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    /// Any.
    pub(crate) const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];
}

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const PURPOSES: &[u8] = &[0x55, 0x1d, 0x25];

/// What a certificate says.
#[derive(Default)]
pub(crate) struct Certificate<'a> {
    /// Whom it is about, as bytes of a name.
    pub(crate) subject: &'a [u8],
    /// When it begins to hold, in seconds since 1970.
    pub(crate) not_before: i64,
    /// When it ends to hold.
    pub(crate) not_after: i64,
    /// Whether it is one of an authority, where it says.
    pub(crate) authority: Option<bool>,
    /// What the key may be used for, where it says, by [`usage`].
    pub(crate) usage: Option<u8>,
    /// Whether others have to obey that.
    pub(crate) usage_is_critical: bool,
    /// What the certificate is for, where it says, by [`purpose`].
    pub(crate) purposes: Option<Vec<&'a [u8]>>,
    /// Whether others have to obey that.
    pub(crate) purposes_are_critical: bool,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; nothing if the bytes are none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut signed = Elements::new(bytes).enter(tag::SEQUENCE)?;
        let mut fields = signed.enter(tag::SEQUENCE)?;
        fields.element(tag::VERSION);
        fields.element(tag::INTEGER)?;
        // How it is signed, and by whom.
        fields.element(tag::SEQUENCE)?;
        fields.element(tag::SEQUENCE)?;
        let mut times = fields.enter(tag::SEQUENCE)?;
        let mut certificate = Self {
            not_before: seconds(times.next()?)?,
            not_after: seconds(times.next()?)?,
            subject: fields.element(tag::SEQUENCE)?.whole,
            ..Self::default()
        };
        // The key.
        fields.element(tag::SEQUENCE)?;
        let extensions = fields.find(|field| field.tag == tag::EXTENSIONS);
        if let Some(extensions) = extensions {
            let mut extensions = Elements::new(extensions.content).enter(tag::SEQUENCE)?;
            while let Some(extension) = extensions.enter(tag::SEQUENCE) {
                certificate.note(extension)?;
            }
        }
        Some(certificate)
    }

    fn note(&mut self, mut extension: Elements<'a>) -> Option<()> {
        let kind = extension.element(tag::OBJECT)?.content;
        let critical = extension.element(tag::BOOLEAN).is_some_and(|flag| flag.content != [0]);
        let mut value = extension.enter(tag::OCTET_STRING)?;
        match kind {
            BASIC_CONSTRAINTS => {
                let flag = value.enter(tag::SEQUENCE)?.element(tag::BOOLEAN);
                self.authority = Some(flag.is_some_and(|flag| flag.content != [0]));
            }
            KEY_USAGE => {
                let bits = value.element(tag::BIT_STRING)?.content;
                self.usage = Some(bits.get(1).copied().unwrap_or(0));
                self.usage_is_critical = critical;
            }
            PURPOSES => {
                let purposes = value.enter(tag::SEQUENCE)?;
                self.purposes = Some(purposes.map(|purpose| purpose.content).collect());
                self.purposes_are_critical = critical;
            }
            _ => {}
        }
        Some(())
    }
}

/// Seconds since 1970 of a time, which is one of Greenwich.
fn seconds(time: Element<'_>) -> Option<i64> {
    let digits = time.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    let (year, rest) = match time.tag {
        tag::UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    let pairs: Vec<i64> = rest.chunks(2).map(number).collect();
    let [month, day, hour, minute, second] = pairs[..] else { return None };
    // Years begin in March: then the day that comes and goes is the last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let of = |tag, text: &str| seconds(Element { tag, content: text.as_bytes(), whole: &[] });
        for (text, expected) in [
            ("19700101000000Z", 0),
            ("20000229235959Z", 951_868_799),
            ("20260101000000Z", 1_767_225_600),
            ("21000301000000Z", 4_107_542_400),
        ] {
            assert_eq!(of(tag::GENERALIZED_TIME, text), Some(expected), "{text}");
        }
        assert_eq!(of(tag::UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(of(tag::UTC_TIME, "260101000000Z"), Some(1_767_225_600));
        for bad in ["", "Z", "2026Z", "20260101000000", "2026010100000xZ", "202601010000000Z"] {
            assert_eq!(of(tag::GENERALIZED_TIME, bad), None, "{bad}");
        }
    }
}

//! What clients put into options: lists with lengths, which are not trusted.

use thiserror::Error;

use crate::numbers::MAX_STRING;

/// Why the data of an option cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    /// The data ends inside of a field.
    #[error("option data of {len} bytes ends inside of {what}")]
    Short {
        /// The field.
        what: &'static str,
        /// Bytes of the option.
        len: usize,
    },
    /// A string is longer than strings may be.
    #[error("{what} has {len} bytes, more than 4096")]
    LongString {
        /// The field.
        what: &'static str,
        /// Bytes that it says it has.
        len: u32,
    },
    /// There is something behind the last field.
    #[error("option data has {extra} bytes behind its end")]
    Trailing {
        /// How many bytes.
        extra: usize,
    },
}

/// Reads fields one after the other.
struct Fields<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Fields<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { rest: data, len: data.len() }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], OptionError> {
        let short = OptionError::Short { what, len: self.len };
        let (value, rest) = self.rest.split_first_chunk::<N>().ok_or(short)?;
        self.rest = rest;
        Ok(*value)
    }

    fn number(&mut self, what: &'static str) -> Result<u32, OptionError> {
        self.array(what).map(u32::from_be_bytes)
    }

    fn string(&mut self, what: &'static str) -> Result<&'a [u8], OptionError> {
        let len = self.number(what)?;
        let bytes = usize::try_from(len).ok().filter(|bytes| *bytes <= MAX_STRING);
        let bytes = bytes.ok_or(OptionError::LongString { what, len })?;
        let short = OptionError::Short { what, len: self.len };
        let (value, rest) = self.rest.split_at_checked(bytes).ok_or(short)?;
        self.rest = rest;
        Ok(value)
    }

    fn end(self) -> Result<(), OptionError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(OptionError::Trailing { extra }),
        }
    }
}

/// The data of [`crate::numbers::option::INFO`] and [`crate::numbers::option::GO`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoQuery<'a> {
    /// The export's name.
    pub name: &'a [u8],
    /// Which properties are asked for, see [`crate::numbers::info`].
    pub wanted: Vec<u16>,
}

impl<'a> InfoQuery<'a> {
    /// Reads the data of an option.
    ///
    /// # Errors
    /// Lengths do not fit the data.
    pub fn parse(data: &'a [u8]) -> Result<Self, OptionError> {
        let mut fields = Fields::new(data);
        let name = fields.string("the export name")?;
        let count = u16::from_be_bytes(fields.array("the number of properties")?);
        // Grows with what is there, not with what the count says.
        let mut wanted = Vec::new();
        for _ in 0..count {
            wanted.push(u16::from_be_bytes(fields.array("the properties")?));
        }
        fields.end()?;
        Ok(Self { name, wanted })
    }
}

/// The data of the options about metadata contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextQuery<'a> {
    /// The export's name.
    pub name: &'a [u8],
    /// The queries.
    pub queries: Vec<&'a [u8]>,
}

impl<'a> ContextQuery<'a> {
    /// Reads the data of an option.
    ///
    /// # Errors
    /// Lengths do not fit the data.
    pub fn parse(data: &'a [u8]) -> Result<Self, OptionError> {
        let mut fields = Fields::new(data);
        let name = fields.string("the export name")?;
        let count = fields.number("the number of queries")?;
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(fields.string("a query")?);
        }
        fields.end()?;
        Ok(Self { name, queries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_data_is_read() {
        let info = InfoQuery::parse(b"\0\0\0\x02ab\0\x02\0\x01\0\x03").expect("it is well formed");
        assert_eq!((info.name, info.wanted), (b"ab".as_slice(), vec![1, 3]));
        let contexts = ContextQuery::parse(b"\0\0\0\0\0\0\0\x01\0\0\0\x01x").expect("so is this");
        assert_eq!((contexts.name, contexts.queries), (b"".as_slice(), vec![b"x".as_slice()]));
    }

    #[test]
    fn lengths_are_not_believed() {
        let long = OptionError::LongString { what: "the export name", len: u32::MAX };
        assert_eq!(InfoQuery::parse(b"\xff\xff\xff\xff"), Err(long));
        let short = OptionError::Short { what: "a query", len: 8 };
        assert_eq!(ContextQuery::parse(b"\0\0\0\0\xff\xff\xff\xff"), Err(short));
        let trailing = OptionError::Trailing { extra: 1 };
        assert_eq!(InfoQuery::parse(b"\0\0\0\0\0\0!"), Err(trailing));
        assert!(InfoQuery::parse(b"").is_err());
    }
}

//! Elements of DER, one after the other; as much of it as certificates need.

/// Tags of elements.
pub(crate) mod tag {
    /// A truth value.
    pub(crate) const BOOLEAN: u8 = 0x01;
    /// A whole number.
    pub(crate) const INTEGER: u8 = 0x02;
    /// Bits, behind the number of those that are not used.
    pub(crate) const BIT_STRING: u8 = 0x03;
    /// Bytes.
    pub(crate) const OCTET_STRING: u8 = 0x04;
    /// The identifier of an object.
    pub(crate) const OBJECT: u8 = 0x06;
    /// Text in UTF-8.
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    /// Digits and blanks.
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    /// Text of a few characters.
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    /// Text in Latin 1, as it is used.
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    /// Text in ASCII.
    pub(crate) const IA5_STRING: u8 = 0x16;
    /// A time with two digits of the year.
    pub(crate) const UTC_TIME: u8 = 0x17;
    /// A time with four digits of the year.
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    /// Elements in order.
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// Elements in no order.
    pub(crate) const SET: u8 = 0x31;
    /// The version of a certificate.
    pub(crate) const VERSION: u8 = 0xa0;
    /// The extensions of a certificate.
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// Elements that are not read yet.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

/// An element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) content: &'a [u8],
    /// All of it, with its tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element, if it has this tag; nothing is taken if not.
    pub(crate) fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut rest = *self;
        let element = rest.next().filter(|element| element.tag == tag)?;
        *self = rest;
        Some(element)
    }

    /// The elements in the next element, if that has this tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.element(tag).map(|element| Self(element.content))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    /// Ends at the end and at what is no element.
    fn next(&mut self) -> Option<Element<'a>> {
        let [tag, first, after @ ..] = self.0 else { return None };
        // Tags of more than one byte are in no certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (len, after) = match first {
            0..=0x7f => (usize::from(*first), after),
            0x81..=0x84 => {
                let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
                let len = digits.iter().fold(0, |len, digit| len << 8 | u64::from(*digit));
                (usize::try_from(len).ok()?, after)
            }
            _ => return None,
        };
        let (content, rest) = after.split_at_checked(len)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element { tag: *tag, content, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_their_lengths_say() {
        let long = [vec![0x04, 0x82, 0x01, 0x00], vec![7; 256], vec![0x01, 0x01, 0xff]].concat();
        let mut elements = Elements::new(&long);
        assert!(elements.element(tag::BOOLEAN).is_none(), "it is the second");
        let bytes = elements.element(tag::OCTET_STRING).expect("it is the first");
        assert_eq!((bytes.content, bytes.whole.len()), (&[7; 256][..], 260));
        assert_eq!(elements.next().expect("the last").content, [0xff]);
        assert!(elements.next().is_none());
    }

    #[test]
    fn what_is_no_element_ends_it() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x82, 0x01],
            &[0x1f, 0x01, 0x00],
        ] {
            assert!(Elements::new(bad).next().is_none(), "{bad:?}");
        }
    }
}

//! Limits that a node pretends to have.

use crate::disk::DiskError;
use crate::node::Options;

/// Lengths in bytes; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Requests begin and end at multiples of it; at least 1.
    pub(super) align: u64,
    /// The longest read or write.
    pub(super) max_transfer: u64,
    /// Where zeroes are best cut, and the longest write of them.
    pub(super) zeroes: Cut,
    /// Where discards are best cut, and the longest one.
    pub(super) discard: Cut,
}

/// How requests without data are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// At multiples of it.
    pub(super) at: u64,
    /// Into pieces of at most that length.
    pub(super) max: u64,
}

impl Limits {
    /// Takes the limits out of a node's options.
    ///
    /// # Errors
    /// A value is no size, or does not fit the others.
    pub(super) fn take(options: &mut Options) -> Result<Self, DiskError> {
        let mut size = |name: &str| Ok::<u64, DiskError>(options.take_size(name)?.unwrap_or(0));
        let align = size("align")?;
        let refused = |name: &str, value: u64| {
            DiskError::invalid(format!("Cannot meet constraints with {name} {value}"))
        };
        if align != 0 && (!align.is_power_of_two() || align >= i32::MAX.unsigned_abs().into()) {
            return Err(refused("align", align));
        }
        let align = align.max(1);
        let mut limit = |name: &str, unit: u64| {
            let value = size(name)?;
            if value >= i32::MAX.unsigned_abs().into() || !value.is_multiple_of(unit) {
                return Err(refused(name, value));
            }
            Ok(value)
        };
        let max_transfer = limit("max-transfer", align)?;
        let mut cut = |opt: &str, max: &str| {
            let at = limit(opt, align)?;
            Ok::<Cut, DiskError>(Cut { at, max: limit(max, align.max(at))? })
        };
        let zeroes = cut("opt-write-zero", "max-write-zero")?;
        let discard = cut("opt-discard", "max-discard")?;
        Ok(Self { align, max_transfer, zeroes, discard })
    }
}

impl Cut {
    /// The first piece of `len` bytes from `at`.
    pub(super) fn first(self, at: u64, len: u64) -> u64 {
        let unit = self.at.max(1);
        let head = at % unit;
        let piece = if head != 0 {
            unit - head
        } else if len >= unit {
            len - len % unit
        } else {
            len
        };
        let max = if self.max == 0 { u64::MAX } else { self.max };
        piece.min(max).min(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_to_fit_the_alignment() {
        let take = |text: &str| {
            Limits::take(&mut Options::parse(text, None)).map_err(|error| error.to_string())
        };
        for text in ["align=3", "align=4k,max-transfer=1000", "align=1k,max-write-zero=512"] {
            let (name, _) = text.rsplit(',').next().and_then(|l| l.split_once('=')).expect("a key");
            let error = take(text).expect_err("they do not fit");
            assert!(error.starts_with(&format!("Cannot meet constraints with {name} ")), "{error}");
        }
        let limits = take("align=512,opt-discard=15M,max-discard=15M").expect("they fit");
        assert_eq!((limits.align, limits.discard.max), (512, 15 << 20));
    }

    #[test]
    fn pieces_end_at_multiples() {
        let cut = Cut { at: 10, max: 20 };
        assert_eq!([cut.first(3, 100), cut.first(10, 45), cut.first(30, 5)], [7, 20, 5]);
        assert_eq!(Cut::default().first(3, 100), 100);
        assert_eq!(Cut { at: 10, max: 0 }.first(0, 45), 40);
    }
}

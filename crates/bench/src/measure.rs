//! Rounds, medians and spread.

use anyhow::Result;

/// One side of a row: runs a round and returns how many seconds it took.
pub(crate) type Side<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Seconds of the rounds of a side.
#[derive(Clone, Debug)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Sorts what was measured.
    pub(crate) fn new(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// The time that as many rounds are above as below.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the distance of the quartiles, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / 2.0 / self.median()
    }

    /// Linear between the neighbours.
    fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len() - 1;
        let mut low = 0;
        let at = q * as_f64(last);
        while low < last && as_f64(low + 1) <= at {
            low += 1;
        }
        let high = (low + 1).min(last);
        self.0[low] + (self.0[high] - self.0[low]) * (at - as_f64(low))
    }
}

/// Two sides measured in the same rounds.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) ours: Times,
    pub(crate) other: Times,
    /// How many times as fast as the other side we are.
    pub(crate) ratio: Times,
}

/// Measures both sides in `rounds` rounds, in turn; who goes first changes each time.
///
/// # Errors
/// Those of a side.
pub(crate) fn interleaved(rounds: usize, mut ours: Side<'_>, mut other: Side<'_>) -> Result<Pair> {
    let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // A round that does not count: files come into the page cache, lazy set-up is done.
    ours()?;
    other()?;
    for round in 0..rounds {
        let (first, second);
        if round % 2 == 0 {
            first = ours()?;
            second = other()?;
        } else {
            second = other()?;
            first = ours()?;
        }
        a.push(first);
        b.push(second);
        ratios.push(second / first);
    }
    Ok(Pair { ours: Times::new(a), other: Times::new(b), ratio: Times::new(ratios) })
}

/// A count of things that fits a mantissa.
pub(crate) fn as_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

/// A number of bytes; exact up to 2^53.
pub(crate) fn bytes_f64(n: u64) -> f64 {
    let high = u32::try_from(n >> 32).map_or(f64::INFINITY, f64::from);
    let low = u32::try_from(n & 0xffff_ffff).map_or(0.0, f64::from);
    high * 4_294_967_296.0 + low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_numbers() {
        let times = Times::new(vec![4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(times.median(), 3.0);
        assert_eq!(times.spread(), (4.0 - 2.0) / 2.0 / 3.0);
        assert_eq!(Times::new(vec![1.0, 2.0]).median(), 1.5);
        assert_eq!(Times::new(vec![7.0]).spread(), 0.0);
        assert_eq!(bytes_f64(3 << 40), 3.0 * 1024.0_f64.powi(4));
    }

    #[test]
    fn sides_take_turns_and_ratios_are_of_rounds() -> Result<()> {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char, seconds: f64| -> Side<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(seconds)
            })
        };
        let pair = interleaved(3, side('a', 2.0), side('b', 3.0))?;
        assert_eq!(order.into_inner(), "ababbaab");
        assert_eq!(pair.ratio.median(), 1.5);
        Ok(())
    }
}

//! Which call fails, and how.

use std::fmt;
use std::str::FromStr;

use holstein_testkit::{Fault, FaultError, IoKind, Lasting, Partial};

/// A kind of fault, tried at every call of a program in turn. Prints and parses as
/// `once-all-eio-nothing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Once, or from there on.
    pub lasting: Lasting,
    /// Only changes fail, as on a full disk; else reads and flushes too.
    pub full_disk: bool,
    /// What the failing calls return.
    pub error: FaultError,
    /// What a failing write does all the same.
    pub partial: Partial,
}

impl FaultPlan {
    /// Once and lasting, all calls and changes alone, both errors, writes that do nothing, half and
    /// all of it: each pair of these at least once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use FaultError::{Eio, Enospc};
        use Lasting::{FromThereOn, Once};
        use Partial::{Everything, Half, Nothing};
        let mut all = Vec::new();
        for (lasting, full_disk) in [(Once, false), (FromThereOn, false), (FromThereOn, true)] {
            for (error, partial) in
                [(Eio, Nothing), (Enospc, Nothing), (Eio, Half), (Enospc, Everything)]
            {
                all.push(Self { lasting, full_disk, error, partial });
            }
        }
        all
    }

    /// The fault at call number `after` of those that count.
    #[must_use]
    pub fn at(self, after: u64) -> Fault {
        let kinds = if self.full_disk {
            vec![IoKind::Write, IoKind::Zeroes, IoKind::Allocate, IoKind::SetLen]
        } else {
            IoKind::ALL.to_vec()
        };
        let Self { lasting, error, partial, .. } = self;
        Fault { after, kinds, error, lasting, partial }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = match self.lasting {
            Lasting::Once => "once",
            Lasting::FromThereOn => "lasting",
        };
        let kinds = if self.full_disk { "changes" } else { "all" };
        let error = match self.error {
            FaultError::Eio => "eio",
            FaultError::Enospc => "enospc",
        };
        let partial = match self.partial {
            Partial::Nothing => "nothing",
            Partial::Half => "half",
            Partial::Everything => "everything",
        };
        write!(f, "{lasting}-{kinds}-{error}-{partial}")
    }
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::all();
        all.iter().find(|plan| plan.to_string() == text).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(ToString::to_string).collect();
            format!("{text:?} is no fault: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_print_and_parse() {
        for plan in FaultPlan::all() {
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
    }
}

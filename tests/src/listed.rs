//! A snapshot that there may be.

use holstein_testkit::DiskModel;

/// A snapshot, by the number in its name.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The number in its name.
    pub number: u64,
    /// What its disk holds.
    pub model: DiskModel,
    /// Whether it may be listed, and whether it may be missing, while the image is open.
    pub now: Presence,
    /// The same after a power cut.
    pub after_cut: Presence,
}

/// Whether something may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Listed,
    /// It is not.
    Missing,
    /// Either.
    Maybe,
}

impl Listed {
    /// A snapshot with a name made of `number`, of a disk that holds `model`, durable.
    #[must_use]
    pub fn durable(number: u64, model: DiskModel) -> Self {
        Self { number, model, now: Presence::Listed, after_cut: Presence::Listed }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// A flush was acknowledged. False if nothing is left of it.
    pub fn flush(&mut self) -> bool {
        self.after_cut = self.now;
        self.now != Presence::Missing
    }
}

/// The name of snapshot `number`.
#[must_use]
pub fn name(number: u64) -> String {
    format!("snapshot-{number}")
}

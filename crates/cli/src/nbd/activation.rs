//! Sockets that the program which started this one listens on already.

use super::{Failure, Outcome, background};

/// Whether there is such a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// There is none.
    None,
    /// There is one, as file 3.
    Socket,
}

impl Activation {
    /// What the environment says.
    ///
    /// # Errors
    /// There are several sockets.
    pub(super) fn of_environment() -> Outcome<Self> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let own = [Some(std::process::id()), background::parent()];
        Self::of(number("LISTEN_PID"), number("LISTEN_FDS"), &own)
    }

    fn of(meant: Option<u32>, sockets: Option<u32>, own: &[Option<u32>]) -> Outcome<Self> {
        match (meant, sockets) {
            (Some(_), Some(1)) if own.contains(&meant) => Ok(Self::Socket),
            (Some(_), Some(2..)) if own.contains(&meant) => Err(Failure::message(
                "qemu-nbd does not support socket activation with LISTEN_FDS > 1",
            )),
            _ => Ok(Self::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        let own = [Some(7), None];
        assert_eq!(Activation::of(Some(7), Some(1), &own), Ok(Activation::Socket));
        assert_eq!(Activation::of(Some(8), Some(1), &own), Ok(Activation::None));
        assert_eq!(Activation::of(None, Some(1), &own), Ok(Activation::None));
        assert_eq!(Activation::of(Some(7), Some(0), &own), Ok(Activation::None));
        assert!(Activation::of(Some(7), Some(2), &own).is_err());
    }
}

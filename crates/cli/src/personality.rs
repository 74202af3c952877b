//! Under which name the program was started.

use std::path::Path;
use std::sync::OnceLock;

/// What the program behaves as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Personality {
    /// All commands, `io` and `nbd`.
    Native,
    /// Image commands under the classic name.
    Img,
    /// The exerciser under the classic name.
    Io,
    /// The server under the classic name.
    Nbd,
}

static CURRENT: OnceLock<Personality> = OnceLock::new();

impl Personality {
    /// The personality that a program path asks for, with or without `.exe`.
    pub(crate) fn of(program: &str) -> Self {
        let file = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or("");
        match file.strip_suffix(".exe").unwrap_or(file) {
            "qemu-img" => Self::Img,
            "qemu-io" => Self::Io,
            "qemu-nbd" => Self::Nbd,
            _ => Self::Native,
        }
    }

    /// The name that begins error lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "holstein",
            Self::Img => "qemu-img",
            Self::Io => "qemu-io",
            Self::Nbd => "qemu-nbd",
        }
    }
}

/// Fixes the personality of this process; later calls change nothing.
pub(crate) fn set(personality: Personality) {
    let _ = CURRENT.set(personality);
}

/// The name that begins error lines.
pub(crate) fn name() -> &'static str {
    CURRENT.get().copied().unwrap_or(Personality::Native).name()
}

/// Whether the program runs under its own name.
pub(crate) fn is_native() -> bool {
    CURRENT.get().is_none_or(|current| *current == Personality::Native)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_decides() {
        assert_eq!(Personality::of("/usr/bin/qemu-img"), Personality::Img);
        assert_eq!(Personality::of("qemu-io.exe"), Personality::Io);
        assert_eq!(Personality::of("/a/qemu-nbd"), Personality::Nbd);
        assert_eq!(Personality::of("./holstein"), Personality::Native);
        assert_eq!(Personality::of("qemu-image"), Personality::Native);
    }
}

//! States judged by the real `qemu-img check`.

use holstein_testkit::{DiskImage, Oracle, TempDir, Verdict, Version};

/// Runs `qemu-img check` on states that are written to files.
#[derive(Debug)]
pub struct SecondOpinion {
    oracle: Oracle,
    dir: TempDir,
}

impl SecondOpinion {
    /// Finds the program; `None`, said loudly, if there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let oldest = Version { major: 8, minor: 0, patch: 0 };
        let oracle = Oracle::find_or_skip("crash states judged by qemu-img", oldest)?;
        let dir = TempDir::new("crash").ok()?;
        Some(Self { oracle, dir })
    }

    /// Judges one state.
    ///
    /// # Errors
    /// What `qemu-img` says of it, if it finds more than leaks.
    pub fn judge(&self, image: &DiskImage) -> Result<(), String> {
        let path = self.dir.file("state");
        image.write_to(&path).map_err(|e| format!("write a state out: {e}"))?;
        match self.oracle.check(&path) {
            Ok((Verdict::Clean | Verdict::Leaks, _)) => Ok(()),
            Ok((Verdict::Corrupt, said)) => Err(format!("qemu-img check: {}", said.trim())),
            Err(error) => Err(format!("qemu-img {error}")),
        }
    }
}

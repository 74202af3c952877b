//! States judged by the real `qemu-img check`.

use std::ffi::OsString;
use std::path::Path;

use holstein_storage::Storage;
use holstein_testkit::{Oracle, TempDir, Verdict, Version};
use holstein_units::HostOffset;

use crate::{Feature, Files, Name};

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

    /// Judges one state, which opens to passphrase 0 if it needs one; what lies below the image is written out beside it.
    ///
    /// # Errors
    /// What `qemu-img` says of it, if it finds more than leaks.
    pub fn judge(&self, files: &Files) -> Result<(), String> {
        let path = self.dir.file("state");
        let write = |storage: &dyn Storage, path: &Path| {
            write_out(storage, path).map_err(|e| format!("write a state out: {e}"))
        };
        write(&*files.own, &path)?;
        let mut image = format!("driver=qcow2,file.filename={}", path.display());
        if let Some(data) = &files.data {
            let path = self.dir.file("data");
            write(&**data, &path)?;
            // Names of data files are looked up where the program runs.
            let named = format!(",data-file.driver=file,data-file.filename={}", path.display());
            image.push_str(&named);
        }
        for name in Name::each() {
            if let Some(storage) = files.named(name) {
                write(&*storage, &self.dir.file(name.text()))?;
            }
        }
        let secret = "secret,id=key,data=passphrase-0";
        let mut args: Vec<OsString> = Vec::new();
        if files.config.is_encrypted() {
            let format = if files.config.has(Feature::Luks) { "luks" } else { "aes" };
            // What lies below has a key of its own, and is not asked for.
            let key = format!(",encrypt.format={format},encrypt.key-secret=key,backing=");
            image.push_str(&key);
            args.extend(["--object".into(), secret.into()]);
        }
        args.extend(["--image-opts".into(), image.into()]);
        match self.oracle.check_by(&args) {
            Ok((Verdict::Clean | Verdict::Leaks, _)) => Ok(()),
            Ok((Verdict::Corrupt, said)) => Err(format!("qemu-img check: {}", said.trim())),
            Err(error) => Err(format!("qemu-img {error}")),
        }
    }
}

fn write_out(storage: &dyn Storage, path: &Path) -> std::io::Result<()> {
    let len = usize::try_from(storage.len()?).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; len];
    storage.read_at(HostOffset::new(0), &mut bytes)?;
    std::fs::write(path, bytes)
}

//! The reference programs, where they are of the version whose texts are ours.

use holstein_testkit::{Oracle, Version, skipped};

/// The release whose texts are ours.
const OLDEST: Version = Version { major: 10, minor: 0, patch: 0 };

/// The oracle, if it is of that release; says so if not.
pub(crate) fn oracle(test: &str) -> Option<Oracle> {
    let oracle = Oracle::find_or_skip(test, OLDEST)?;
    let version = oracle.version();
    if (version.major, version.minor) == (OLDEST.major, OLDEST.minor) {
        return Some(oracle);
    }
    skipped(&format!("{test}: texts of version {version} differ from those of 10.0"));
    None
}

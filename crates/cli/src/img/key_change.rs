//! Options that change the key slots of an encrypted image.

use std::time::Duration;

use holstein::luks::{Format, KeyChange};

use super::make_qcow2::not_accepted;
use crate::disk::DiskError;
use crate::objects::Objects;

/// The change that options ask for; `value` has them by their names.
///
/// # Errors
/// They contradict each other, or name a secret that is not there.
pub(super) fn key_change<'a>(
    value: impl Fn(&str) -> Option<&'a str>,
    objects: &Objects,
) -> Result<KeyChange, DiskError> {
    let invalid = |text: &str| Err(DiskError::invalid(text));
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    // An index of 32 bits, as which a negative one is large.
    let slot = number("keyslot")
        .map(|slot| usize::try_from(slot & u64::from(u32::MAX)).unwrap_or(usize::MAX));
    let secret = |id| objects.passphrase("key-secret", Some(id));
    match value("state") {
        None => invalid("Parameter 'state' is missing"),
        Some("active") => {
            let Some(new) = value("new-secret") else {
                return invalid("'new-secret' is required to activate a keyslot");
            };
            if value("old-secret").is_some() {
                return invalid("'old-secret' must not be given when activating keyslots");
            }
            let iter_time = number("iter-time").map(Duration::from_millis);
            Ok(KeyChange::Add {
                passphrase: secret(new)?,
                slot,
                iter_time: iter_time.unwrap_or(Format::default().iter_time),
            })
        }
        Some("inactive") => {
            if value("new-secret").is_some() {
                return invalid("'new-secret' must not be given when erasing keyslots");
            }
            if value("iter-time").is_some() {
                return invalid("'iter-time' must not be given when erasing keyslots");
            }
            let old = value("old-secret").map(secret).transpose()?;
            match (slot, old) {
                (Some(slot), passphrase) => Ok(KeyChange::EraseSlot { slot, passphrase }),
                (None, Some(passphrase)) => Ok(KeyChange::ErasePassphrase(passphrase)),
                (None, None) => invalid(
                    "To erase keyslot(s), either explicit keyslot index or the password currently \
                     contained in them must be given",
                ),
            }
        }
        Some(other) => Err(not_accepted("state", other)),
    }
}

//! Power cuts in the middle of changes of key slots.

use std::time::Duration;

use holstein_crypto::{CipherMode, Secret};
use holstein_luks::{CipherSpec, FileArea, Format, Header, KeyChange, Limits, LuksError};
use holstein_storage::{MemStorage, Storage};
use holstein_testkit::{RecordingStorage, SampleOptions};
use holstein_units::HostOffset;

const TIME: Duration = Duration::from_millis(1);

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// The smallest volume there is, which opens to `old`.
fn volume() -> MemStorage {
    let cipher = CipherSpec { key: 16, mode: CipherMode::Cbc, ..CipherSpec::default() };
    let format = Format { cipher, iter_time: TIME, ..Format::default() };
    let made = format.format(&secret("old")).expect("the parts go together");
    MemStorage::from_bytes(&made.bytes)
}

fn opens(file: &dyn Storage, passphrase: &str) -> bool {
    let header = Header::read(&FileArea::whole(file)).expect("the header is whole");
    match header.unlock(&FileArea::whole(file), &secret(passphrase), Limits::default()) {
        Ok(_) => true,
        Err(LuksError::Passphrase) => false,
        Err(error) => panic!("{error}"),
    }
}

fn add(passphrase: &str, slot: Option<usize>) -> KeyChange {
    KeyChange::Add { passphrase: secret(passphrase), slot, iter_time: TIME }
}

fn apply(file: &dyn Storage, change: &KeyChange, force: bool) -> Result<(), LuksError> {
    change.apply(&FileArea::whole(file), &secret("old"), force, Limits::default())
}

/// Makes the change, and looks at every file that a cut can leave.
fn at_every_cut(
    file: MemStorage,
    change: &KeyChange,
    force: bool,
    mut judge: impl FnMut(&dyn Storage) -> bool,
) -> (usize, usize) {
    let file = RecordingStorage::new(file).expect("memory does not fail");
    apply(&file, change, force).expect("the change is allowed");
    let (mut good, mut all) = (0, 0);
    // Material is large; torn in a few places it is as torn as anywhere.
    let options = SampleOptions { samples: 4, ..SampleOptions::default() };
    file.log()
        .for_each_state(&options, &mut |state| {
            all += 1;
            good += usize::from(judge(&state.storage()));
            Ok::<(), std::io::Error>(())
        })
        .expect("memory does not fail");
    (good, all)
}

#[test]
fn c4_adding_a_key_never_takes_another_away() {
    // Slot 6 lies in two sectors of the header.
    for slot in [1, 6, 7] {
        let mut added = 0;
        let (good, all) = at_every_cut(volume(), &add("new", Some(slot)), false, |file| {
            let header = Header::read(&FileArea::whole(file)).expect("the header is whole");
            let new = opens(file, "new");
            added += usize::from(new);
            // What is listed opens, so nobody waits for a slot that holds nothing.
            opens(file, "old") && header.slots[slot].active == new
        });
        assert_eq!(good, all, "slot {slot}");
        assert!(added > 0 && added < all);
    }
}

#[test]
fn c4_erasing_a_key_leaves_the_others() {
    let file = volume();
    for slot in 1..8 {
        apply(&file, &add(&slot.to_string(), Some(slot)), false).expect("the slot is free");
    }
    for slot in [1, 6] {
        let copy = MemStorage::from_bytes(&file.to_bytes().expect("memory does not fail"));
        let change = KeyChange::EraseSlot { slot, passphrase: None };
        let (good, all) = at_every_cut(copy, &change, false, |file| {
            opens(file, "old") && opens(file, "7") && {
                // What is not listed is not left in the file either.
                let header = Header::read(&FileArea::whole(file)).expect("the header is whole");
                let mut listed = header.clone();
                listed.slots[slot].active = true;
                listed.slots[slot].iterations = 1000;
                header.slots[slot].active || !opens(file, &slot.to_string())
            }
        });
        assert_eq!(good, all, "slot {slot}");
    }
}

#[test]
fn c4_the_only_key_is_replaced_without_a_moment_without() {
    let (good, all) = at_every_cut(volume(), &add("new", Some(0)), true, |file| {
        opens(file, "old") || opens(file, "new")
    });
    assert_eq!(good, all);
}

/// The material of a slot that is not active any more is gone from the file before the slot is.
#[test]
fn erased_material_is_overwritten_before_the_slot_says_so() {
    let file = volume();
    apply(&file, &add("second", None), false).expect("slots are free");
    let header = Header::read(&FileArea::whole(&file)).expect("the header is whole");
    let mut before = vec![0; 16 * 4000];
    let at = HostOffset::new(header.slot_offset(&header.slots[1]));
    file.read_at(at, &mut before).expect("memory does not fail");
    let change = KeyChange::ErasePassphrase(secret("second"));
    let (good, all) = at_every_cut(file, &change, false, |file| {
        let header = Header::read(&FileArea::whole(file)).expect("the header is whole");
        let mut now = vec![0; before.len()];
        file.read_at(at, &mut now).expect("memory does not fail");
        let left = before.chunks(512).zip(now.chunks(512)).filter(|(a, b)| a == b).count();
        header.slots[1].active || left == 0
    });
    assert_eq!(good, all);
}

#[test]
fn rules_of_changes() {
    let file = volume();
    let erase = |slot, passphrase: Option<&str>| KeyChange::EraseSlot {
        slot,
        passphrase: passphrase.map(secret),
    };
    let refused = |change: &KeyChange| {
        let before = file.to_bytes().expect("memory does not fail");
        let error = apply(&file, change, false).expect_err("it breaks a rule");
        assert!(file.to_bytes().expect("memory does not fail") == before, "nothing was written");
        error
    };
    assert!(matches!(refused(&add("x", Some(8))), LuksError::NoSlot { slot: 8 }));
    assert!(matches!(refused(&add("x", Some(0))), LuksError::SlotActive { slot: 0 }));
    assert!(matches!(refused(&erase(0, None)), LuksError::LastSlot { slot: 0 }));
    assert!(matches!(refused(&erase(1, None)), LuksError::SlotInactive { slot: 1 }));
    assert!(matches!(refused(&erase(9, None)), LuksError::NoSlot { slot: 9 }));
    assert!(matches!(refused(&erase(0, Some("x"))), LuksError::SlotPassphrase { slot: 0 }));
    let all = KeyChange::ErasePassphrase(secret("old"));
    assert!(matches!(refused(&all), LuksError::AllSlots));
    let none = KeyChange::ErasePassphrase(secret("x"));
    assert!(matches!(refused(&none), LuksError::NoMatch));
    let wrong = add("x", None)
        .apply(&FileArea::whole(&file), &secret("wrong"), false, Limits::default())
        .expect_err("the volume does not open");
    assert!(matches!(wrong, LuksError::Passphrase));
    for slot in 1..8 {
        apply(&file, &add("x", None), false).expect("slots are free");
        assert!(Header::read(&FileArea::whole(&file)).expect("whole").slots[slot].active);
    }
    assert!(matches!(refused(&add("y", None)), LuksError::NoFreeSlot));
    apply(&file, &add("y", Some(3)), true).expect("it is forced");
    apply(&file, &KeyChange::ErasePassphrase(secret("x")), false).expect("others are left");
    let active =
        Header::read(&FileArea::whole(&file)).expect("whole").slots.map(|slot| slot.active);
    assert_eq!(active, [true, false, false, true, false, false, false, false]);
    apply(&file, &erase(3, None), false).expect("another is left");
    apply(&file, &all, true).expect("it is forced");
    assert!(!opens(&file, "old") && !opens(&file, "x") && !opens(&file, "y"));
}

//! Power cuts while passphrases of an open image change.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use holstein::luks::{CipherMode, CipherSpec, Format, KeyChange};
use holstein::storage::{MemStorage, Storage};
use holstein::{CreateOptions, ErrorKind, OpenOptions, Secret};
use holstein_testkit::{RecordingStorage, SampleOptions};

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Whether the image opens to the passphrase; if so, it has to read as it did.
fn opens(file: &Arc<dyn Storage>, passphrase: &str) -> bool {
    let options = OpenOptions::new().passphrase(secret(passphrase));
    let image = match options.open_storage_read_only(Arc::clone(file)) {
        Ok(image) => image,
        Err(error) if error.kind() == ErrorKind::WrongPassphrase => return false,
        Err(error) => panic!("{error}"),
    };
    let mut back = [0; 512];
    image.read_at(700, &mut back).expect("read");
    assert_eq!(back, [7; 512]);
    true
}

#[test]
fn crash_while_a_passphrase_is_exchanged_locks_nobody_out() {
    let cipher = CipherSpec { key: 16, mode: CipherMode::Cbc, ..CipherSpec::default() };
    let format = Format { cipher, iter_time: Duration::ZERO, ..Format::default() };
    let create = CreateOptions::new(1 << 20).cluster_size(4096).luks(format, secret("old"));
    let file = Arc::new(MemStorage::new());
    let image = create.create_on(Arc::<MemStorage>::clone(&file)).expect("made");
    image.write_at(0, &[7; 4096]).expect("written");
    image.close().expect("closed");

    let file = Arc::new(RecordingStorage::new(MemStorage::clone(&file)).expect("memory"));
    let options = OpenOptions::new().passphrase(secret("old"));
    let image =
        options.open_storage(Arc::<RecordingStorage<MemStorage>>::clone(&file)).expect("opened");
    let passphrase = secret("new");
    let add = KeyChange::Add { passphrase, slot: None, iter_time: Duration::ZERO };
    image.change_keys(&add, false).expect("slots are free");
    image.change_keys(&KeyChange::ErasePassphrase(secret("old")), false).expect("one is left");
    image.close().expect("closed");

    let (mut both, mut last) = (0, (false, false));
    let options = SampleOptions { samples: 4, ..SampleOptions::default() };
    file.log()
        .for_each_state(&options, &mut |state| {
            let file: Arc<dyn Storage> = Arc::new(state.storage());
            let (old, new) = (opens(&file, "old"), opens(&file, "new"));
            assert!(old || new, "{state}");
            both += u32::from(old && new);
            last = (old, new);
            Ok::<(), std::io::Error>(())
        })
        .expect("memory does not fail");
    assert!(both > 0, "one is added before the other goes");
    assert_eq!(last, (false, true));
}

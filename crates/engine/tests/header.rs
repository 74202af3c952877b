//! Changes of the header of an open disk.

mod common;

use std::sync::Arc;

use holstein_codec::Deflate;
use holstein_engine::{Disk, DiskConfig, EngineError, NoProgress, Preallocation};
use holstein_format::{
    AutoclearFeatures, CompatibleFeatures, DecodePurpose, FormatError, Header, HeaderExtension,
    Version,
};
use holstein_guard::RegionMask;
use holstein_storage::{MemStorage, Storage};
use holstein_units::HostOffset;

fn open(storage: &Arc<MemStorage>, writable: bool) -> Disk {
    let config = DiskConfig {
        writable,
        overlap: RegionMask::CACHED,
        ..DiskConfig::reading(Arc::new(Deflate::default()))
    };
    let storage: Arc<dyn Storage> = Arc::<MemStorage>::clone(storage);
    Disk::open(Arc::clone(&storage), &in_file(&*storage), config).expect("opened")
}

fn in_file(storage: &dyn Storage) -> Header {
    let mut bytes = vec![0; 1 << 16];
    let got = storage.read_at(HostOffset::new(0), &mut bytes).expect("read");
    Header::decode(&bytes[..got], storage.len().expect("length"), DecodePurpose::Use)
        .expect("whole")
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let (storage, mut header) = common::empty(Version::V3, 16, false, 4);
    let unknown = HeaderExtension::Unknown { kind: 0x1234, data: b"thirteen byte".to_vec() };
    header.extensions.push(unknown.clone());
    header.unknown_fields = vec![7; 16];
    header.compatible = CompatibleFeatures::new(1 << 50);
    header.autoclear = AutoclearFeatures::new(1 << 40);
    storage.write_at(HostOffset::new(0), &header.encode().expect("it fits")).expect("written");

    let disk = open(&storage, true);
    disk.clear_unknown_autoclear().expect("cleared");
    disk.resize(10 << 20, Preallocation::Off, &mut NoProgress).expect("grown");
    disk.write_at(0, &[1; 512]).expect("written");
    disk.update_header(|header| {
        header.backing_file = Some(vec![b'x'; 900]);
        header.extensions.insert(0, HeaderExtension::BackingFormat(b"raw".to_vec()));
    })
    .expect("changed");
    let found = in_file(&*storage);
    assert_eq!(found, Header { header_length: found.header_length, ..disk.header() });
    assert_eq!((found.size, found.l1_size), (10 << 20, 1));
    assert_eq!(found.backing_file, Some(vec![b'x'; 900]));
    assert!(found.extensions.contains(&unknown));
    assert_eq!(found.unknown_fields, [7; 16]);
    assert_eq!(found.compatible.bits(), 1 << 50);
    assert_eq!(found.autoclear.bits(), 0);
    disk.close().expect("closed");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (storage, _) = common::empty(Version::V3, 9, false, 4);
    let disk = open(&storage, true);
    let before = storage.to_bytes().expect("small");
    for (length, fits) in [(384, true), (393, false), (1024, false)] {
        let result = disk.update_header(|h| h.backing_file = Some(vec![b'x'; length]));
        assert_eq!(result.is_ok(), fits, "{length}");
        if let Err(error) = result {
            assert!(matches!(error, EngineError::Header(FormatError::NoSpace { .. })), "{error}");
        }
        disk.update_header(|header| header.backing_file = None).expect("back");
        assert_eq!(storage.to_bytes().expect("small"), before, "{length}");
    }
    assert!(matches!(open(&storage, false).update_header(|_| ()), Err(EngineError::ReadOnly)));
}

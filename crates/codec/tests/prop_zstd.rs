//! Frames: round trips, what other writers make, and what is refused.

#![cfg(feature = "zstd")]

mod common;

use common::{cluster, noise};
use holstein_codec::{ClusterCodec, CodecError, Zstd};
use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter};

/// A frame as other writers make it: with a checksum, without the size of its content.
fn frame(bytes: &[u8], checksum: bool, size: bool) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
    let mut encoder = CCtx::create();
    for parameter in [CParameter::ChecksumFlag(checksum), CParameter::ContentSizeFlag(size)] {
        encoder.set_parameter(parameter).expect("a parameter");
    }
    let len = encoder.compress2(&mut out[..], bytes).expect("there is room");
    out.truncate(len);
    out
}

fn read(codec: &Zstd, stream: &[u8], size: usize) -> Result<Vec<u8>, CodecError> {
    let mut cluster = vec![0xee; size];
    codec.decompress(stream, &mut cluster).map(|()| cluster)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn clusters_come_back(bits in 9_u32..=17, seed: u64, tail in 0_usize..600) {
        let codec = Zstd::default();
        let bytes = cluster(1 << bits, seed);
        let mut out = vec![0xee; bytes.len() - 1];
        if let Some(n) = codec.compress(&bytes, &mut out).expect("the encoder works") {
            let mut input = out[..n].to_vec();
            input.resize(n + tail, 0xee);
            prop_assert_eq!(read(&codec, &input, bytes.len()), Ok(bytes.clone()));
            // Neither more nor less than a cluster.
            prop_assert!(read(&codec, &out[..n], bytes.len() + 1).is_err());
            prop_assert!(read(&codec, &out[..n], bytes.len() - 1).is_err());
            prop_assert!(read(&codec, &out[..n - 1], bytes.len()).is_err());
        }
    }

    #[test]
    fn frames_of_other_writers_are_read(
        seed: u64,
        cut in 1_usize..65_535,
        checksum: bool,
        size: bool,
        skipped in 0_usize..100,
    ) {
        let bytes = cluster(65_536, seed);
        // A frame that readers skip, and then two for the parts of the cluster.
        let mut stream = vec![0x5a, 0x2a, 0x4d, 0x18, skipped as u8, 0, 0, 0];
        stream.resize(8 + skipped, 7);
        stream.extend(frame(&bytes[..cut], checksum, size));
        stream.extend(frame(&bytes[cut..], checksum, size));
        prop_assert_eq!(read(&Zstd::default(), &stream, 65_536), Ok(bytes));
    }

    #[test]
    fn broken_frames_are_errors(
        seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let codec = Zstd::default();
        let bytes = cluster(4096, seed);
        let mut stream = frame(&bytes, true, true);
        for (at, byte) in edits {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(cut.index(stream.len() + 1));
        match read(&codec, &stream, 4096) {
            Ok(found) => prop_assert_eq!(&found, &bytes, "the checksum was right"),
            Err(CodecError::Broken { produced, .. } | CodecError::TooShort { produced, .. }) => {
                prop_assert!(produced < 4096);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        // The context that met them is as good as new.
        let whole = frame(&bytes, false, true);
        prop_assert_eq!(read(&codec, &whole, 4096), Ok(bytes));
    }
}

#[test]
fn noise_does_not_fit_and_the_next_cluster_is_not_harmed() {
    let codec = Zstd::default();
    let (hard, easy) = (noise(65_536), cluster(65_536, 5));
    for limit in [100, 32_768, 61_440, 65_535] {
        assert_eq!(codec.compress(&hard, &mut vec![0; limit]), Ok(None), "{limit}");
        let mut out = vec![0; 65_535];
        let n = codec.compress(&easy, &mut out).expect("works").expect("shrinks");
        assert_eq!(read(&codec, &out[..n], 65_536), Ok(easy.clone()));
    }
}

/// A frame that asks for a window of 2^41 bytes, and one that says that 2^60 bytes are in it.
#[test]
fn a_frame_cannot_ask_for_memory() {
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0, 0];
    let content = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0];
    for stream in [&window[..], &content[..]] {
        assert!(read(&Zstd::default(), stream, 4096).is_err());
    }
}

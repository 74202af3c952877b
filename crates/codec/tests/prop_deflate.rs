//! Round trips, leniency about what follows a stream, and broken streams.

mod common;

use common::{cluster, noise};
use flate2::{Compress, Compression, FlushCompress, Status};
use holstein_codec::{ClusterCodec, CodecError, Deflate};
use proptest::prelude::*;

/// A stream with the full window, as other writers make.
fn wide_stream(cluster: &[u8]) -> Vec<u8> {
    let mut out = vec![0; cluster.len() * 2 + 64];
    let mut state = Compress::new_with_window_bits(Compression::new(9), false, 15);
    let status = state.compress(cluster, &mut out, FlushCompress::Finish).expect("compresses");
    assert_eq!(status, Status::StreamEnd);
    out.truncate(usize::try_from(state.total_out()).expect("small"));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn clusters_come_back(bits in 9_u32..=17, seed: u64, level in 0_u32..12, tail in 0_usize..600) {
        let codec = Deflate::with_level(level);
        let bytes = cluster(1 << bits, seed);
        let mut out = vec![0xee; bytes.len() - 1];
        if let Some(n) = codec.compress(&bytes, &mut out).expect("the encoder works") {
            let mut input = out[..n].to_vec();
            input.resize(n + tail, 0xee);
            let mut again = vec![0; bytes.len()];
            codec.decompress(&input, &mut again).expect("own streams are read");
            prop_assert_eq!(&again, &bytes);
            // One byte more than there is cannot be had.
            let mut more = vec![0; bytes.len() + 1];
            prop_assert!(codec.decompress(&out[..n], &mut more).is_err());
            // Less than the whole is had: a stream that would give more is cut.
            let mut less = vec![0; bytes.len() - 1];
            codec.decompress(&out[..n], &mut less).expect("the rest is cut off");
            prop_assert_eq!(&less, &bytes[..bytes.len() - 1]);
        }
    }

    #[test]
    fn streams_of_the_full_window_are_read(seed: u64) {
        // The second half repeats the first from 32 KiB back.
        let mut bytes = noise(32_000);
        bytes.extend_from_within(..);
        bytes.extend(cluster(65_536 - bytes.len(), seed));
        let stream = wide_stream(&bytes);
        prop_assert!(stream.len() < 36_000);
        let mut again = vec![0; bytes.len()];
        Deflate::default().decompress(&stream, &mut again).expect("the window is 15 bits");
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn broken_streams_are_errors(
        seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = cluster(4096, seed);
        let mut stream = wide_stream(&bytes);
        for (at, byte) in edits {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(cut.index(stream.len() + 1));
        let mut again = vec![0; bytes.len()];
        match Deflate::default().decompress(&stream, &mut again) {
            Ok(()) => prop_assert!(!stream.is_empty()),
            Err(CodecError::Broken { produced, expected } | CodecError::TooShort { produced, expected }) => {
                prop_assert!(produced < expected as u64);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn noise_does_not_fit_and_the_next_cluster_is_not_harmed() {
    let codec = Deflate::with_level(1);
    let (hard, easy) = (noise(65_536), cluster(65_536, 5));
    for limit in [100, 32_768, 61_440, 65_535] {
        let mut out = vec![0; limit];
        assert_eq!(codec.compress(&hard, &mut out), Ok(None), "{limit}");
        let mut out = vec![0; 65_535];
        let n = codec.compress(&easy, &mut out).expect("works").expect("shrinks");
        let mut again = vec![0; 65_536];
        codec.decompress(&out[..n], &mut again).expect("own streams are read");
        assert_eq!(again, easy);
    }
}

/// Distances are seen through a reader that knows only the last 4096 bytes.
#[test]
fn written_streams_look_back_at_most_4096_bytes() {
    let mut bytes = noise(20_000);
    bytes.extend_from_within(..);
    bytes.resize(65_536, 0);
    let mut out = vec![0; 65_535];
    let n = Deflate::with_level(9).compress(&bytes, &mut out).expect("works").expect("shrinks");
    // With a window of 32 KiB the repetition at 20,000 would have been found.
    assert!(n > 40_000, "{n}");
    assert!(wide_stream(&bytes).len() < 21_000);
}

#[test]
fn a_zlib_header_is_refused() {
    let bytes = cluster(4096, 9);
    let mut out = vec![0; 8192];
    let mut state = Compress::new(Compression::new(6), true);
    state.compress(&bytes, &mut out, FlushCompress::Finish).expect("compresses");
    let mut again = vec![0; 4096];
    assert!(Deflate::default().decompress(&out, &mut again).is_err());
}

#[test]
fn an_empty_input_is_too_short() {
    let error = Deflate::default().decompress(&[], &mut [0; 512]);
    assert_eq!(error, Err(CodecError::TooShort { produced: 0, expected: 512 }));
}

//! Lengths of vectored requests.

use super::Failed;
use super::numbers::{MAX_REQUEST, number};
use crate::out::say;

/// Reads the lengths of buffers and their sum, or says what is wrong with them.
pub(super) fn lengths(words: &[&str]) -> Result<(Vec<u64>, u64), Failed> {
    let mut lengths = Vec::with_capacity(words.len());
    let mut total: u64 = 0;
    for word in words {
        let len = number(word)?;
        if len > MAX_REQUEST {
            say!("Argument '{word}' exceeds maximum size {MAX_REQUEST}\n");
            return Err(Failed);
        }
        total = total.saturating_add(len);
        if total > MAX_REQUEST {
            say!("The total number of bytes exceed the maximum size {MAX_REQUEST}\n");
            return Err(Failed);
        }
        lengths.push(len);
    }
    Ok((lengths, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_one_nor_all_of_them_exceed_the_maximum() {
        assert_eq!(lengths(&["1k", "0", "512"]), Ok((vec![1024, 0, 512], 1536)));
        assert_eq!(lengths(&["0x7ffffe00"]), Ok((vec![MAX_REQUEST], MAX_REQUEST)));
        for bad in [&["3G"][..], &["0x7ffffe00", "1"], &["x"]] {
            assert_eq!(lengths(bad), Err(Failed), "{bad:?}");
        }
    }
}

//! Random bytes of the system.

use crate::LuksError;

/// Fills a buffer.
pub(crate) fn fill(into: &mut [u8]) -> Result<(), LuksError> {
    getrandom::fill(into).map_err(|error| LuksError::Random(error.to_string()))
}

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], LuksError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A random UUID, as text.
pub(crate) fn uuid() -> Result<String, LuksError> {
    let mut bytes: [u8; 16] = bytes()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

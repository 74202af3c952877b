//! Priorities of GnuTLS, as far as they choose between versions of the protocol.
//!
//! The ciphers of this crate are all among those of `NORMAL`; there is none to leave out.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::error::CredentialsError;

/// The versions that a priority allows.
///
/// # Errors
/// It asks for something else, or leaves no version.
pub(crate) fn versions(
    priority: Option<&str>,
) -> Result<Vec<&'static SupportedProtocolVersion>, CredentialsError> {
    let priority = priority.unwrap_or("NORMAL");
    let refused = || CredentialsError::Priority(priority.to_owned());
    let mut words = priority.split(':');
    if !matches!(words.next(), Some("NORMAL" | "@SYSTEM")) {
        return Err(refused());
    }
    let (mut tls12, mut tls13) = (true, true);
    for word in words {
        let (wanted, name) = match word.split_at_checked(1) {
            Some(("+", name)) => (true, name),
            Some(("-" | "!", name)) => (false, name),
            _ => return Err(refused()),
        };
        match name {
            "VERS-ALL" | "VERS-TLS-ALL" => (tls12, tls13) = (wanted, wanted),
            "VERS-TLS1.2" => tls12 = wanted,
            "VERS-TLS1.3" => tls13 = wanted,
            // Versions that are not here can be left out.
            "VERS-TLS1.0" | "VERS-TLS1.1" if !wanted => {}
            _ => return Err(refused()),
        }
    }
    let allowed: Vec<_> =
        [(tls12, &TLS12), (tls13, &TLS13)].iter().filter(|(on, _)| *on).map(|(_, v)| *v).collect();
    if allowed.is_empty() { Err(refused()) } else { Ok(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_choose_versions_and_nothing_else() {
        let both = vec![&TLS12, &TLS13];
        for (priority, expected) in [
            (None, both.clone()),
            (Some("NORMAL"), both.clone()),
            (Some("@SYSTEM"), both.clone()),
            (Some("NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"), both),
            (Some("NORMAL:-VERS-TLS1.3"), vec![&TLS12]),
            (Some("NORMAL:-VERS-ALL:+VERS-TLS1.3"), vec![&TLS13]),
        ] {
            assert_eq!(versions(priority).expect("it can be had"), expected, "{priority:?}");
        }
        for bad in ["", "BOGUS", "NORMAL:+ANON-DH", "NORMAL:-VERS-ALL", "NORMAL:", "SECURE256"] {
            let error = versions(Some(bad)).expect_err("it cannot be had").to_string();
            assert_eq!(error, format!("priority '{bad}' is not available in this version"));
        }
    }
}

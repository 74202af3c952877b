//! How an agreement that failed is told: in the words of QEMU's tools.

use std::io;

use rustls::{CertificateError, Error};

/// Why a certificate does not count.
pub(crate) fn verdict(error: &CertificateError) -> Option<&'static str> {
    Some(match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "The certificate hasn't got a known issuer"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "The certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "The certificate is not yet activated"
        }
        CertificateError::Revoked => "The certificate has been revoked",
        _ => return None,
    })
}

/// Whether a certificate was refused for its purpose alone.
pub(crate) fn is_about_purpose(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        )
    )
}

/// What an error of the library means; `host` is the name that the peer should have.
pub(crate) fn in_words(error: &Error, host: Option<&str>) -> String {
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("Certificate does not match the hostname {}", host.unwrap_or_default()),
        Error::InvalidCertificate(reason) => match verdict(reason) {
            Some(words) => words.to_owned(),
            None => format!("Verify failed: {error}"),
        },
        Error::NoCertificatesPresented => "Verify failed: No certificate was found.".to_owned(),
        error => format!("TLS handshake failed: {error}"),
    }
}

/// How a connection is told of that ended without a word.
pub(crate) const ABORTED: &str = "The TLS connection was non-properly terminated.";

fn aborted(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

/// An error of the library as one of the connection.
pub(crate) fn failed(error: &Error, host: Option<&str>) -> io::Error {
    aborted(in_words(error, host))
}

/// There is no agreement.
pub(crate) fn agreement_failed(reason: &str) -> io::Error {
    aborted(format!("TLS handshake failed: {reason}"))
}

/// The peer is gone without having said so.
pub(crate) fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, cannot_read(&ABORTED))
}

/// What the peer sent after the agreement does not count.
pub(crate) fn cannot_read(reason: &dyn std::fmt::Display) -> io::Error {
    aborted(format!("Cannot read from TLS channel: {reason}"))
}

//! What is looked at before credentials are used: whether the certificates are for this at all.
//!
//! The peer would refuse them in any case. Here the file and the reason are named, where the operator sees
//! it.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{Error, RootCertStore};

use crate::certificate::{Certificate, purpose, usage};
use crate::error::{CredentialsError, Side};
use crate::outcome::{is_about_purpose, verdict};

/// What one certificate is looked at for.
#[derive(Clone, Copy)]
enum Role {
    Authority,
    Peer(Side),
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Authority => "CA",
            Self::Peer(Side::Server) => "server",
            Self::Peer(Side::Client) => "client",
        }
    }
}

/// Judges the certificates of authorities.
pub(crate) fn check_authorities(
    path: &Path,
    authorities: &[CertificateDer<'_>],
) -> Result<(), CredentialsError> {
    for authority in authorities {
        let parsed = Certificate::parse(authority);
        let unreadable = || CredentialsError::Authorities { path: path.to_owned() };
        check(path, &parsed.ok_or_else(unreadable)?, Role::Authority)?;
    }
    Ok(())
}

/// Judges the certificate of a side.
pub(crate) fn check_own(
    path: &Path,
    certificate: &CertificateDer<'_>,
    side: Side,
) -> Result<(), CredentialsError> {
    let parsed = Certificate::parse(certificate);
    let unreadable = || CredentialsError::Certificate {
        side,
        path: path.to_owned(),
        reason: "ASN1 parser: Error in DER parsing.",
    };
    check(path, &parsed.ok_or_else(unreadable)?, Role::Peer(side))
}

fn check(path: &Path, certificate: &Certificate<'_>, role: Role) -> Result<(), CredentialsError> {
    let (path, name) = (path.display(), role.name());
    let unfit = |text: String| Err(CredentialsError::Unfit(text));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if certificate.not_after < now {
        return unfit(format!("The {name} certificate {path} has expired"));
    }
    if certificate.not_before > now {
        return unfit(format!("The {name} certificate {path} is not yet active"));
    }
    match (role, certificate.authority) {
        (Role::Authority, None) => {
            return unfit(format!("The certificate {path} is missing basic constraints for a CA"));
        }
        (Role::Authority, Some(false)) => {
            return unfit(format!("The certificate {path} basic constraints do not show a CA"));
        }
        (Role::Peer(_), Some(true)) => {
            return unfit(format!(
                "The certificate {path} basic constraints show a CA, but we need one for a {name}"
            ));
        }
        _ => {}
    }
    let needed: &[(u8, &str)] = match role {
        Role::Authority => &[(usage::CERT_SIGN, "certificate signing")],
        Role::Peer(_) => &[
            (usage::DIGITAL_SIGNATURE, "digital signature"),
            (usage::KEY_ENCIPHERMENT, "key encipherment"),
        ],
    };
    let allowed = certificate.usage.filter(|_| certificate.usage_is_critical).unwrap_or(u8::MAX);
    if let Some((_, what)) = needed.iter().find(|(bit, _)| allowed & bit == 0) {
        return unfit(format!("Certificate {path} usage does not permit {what}"));
    }
    let wanted = match role {
        Role::Authority => return Ok(()),
        Role::Peer(Side::Server) => purpose::SERVER,
        Role::Peer(Side::Client) => purpose::CLIENT,
    };
    let purposes = certificate.purposes.as_ref().filter(|_| certificate.purposes_are_critical);
    match purposes {
        Some(for_what) if !for_what.iter().any(|p| *p == wanted || *p == purpose::ANY) => {
            unfit(format!("Certificate {path} purpose does not allow use with a TLS {name}"))
        }
        _ => Ok(()),
    }
}

/// Whether the authorities vouch for a certificate; if not, why.
pub(crate) fn check_trust(
    chain: &[CertificateDer<'_>],
    authorities: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<(), String> {
    let Some((certificate, others)) = chain.split_first() else { return Ok(()) };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider));
    let verifier = builder.build().map_err(|error| error.to_string())?;
    match verifier.verify_client_cert(certificate, others, UnixTime::now()) {
        Ok(_) => Ok(()),
        // Purposes were judged already: only those that are critical count for one's own.
        Err(error) if is_about_purpose(&error) => Ok(()),
        Err(Error::InvalidCertificate(reason)) => {
            Err(verdict(&reason).map_or_else(|| reason.to_string(), str::to_owned))
        }
        Err(error) => Err(error.to_string()),
    }
}

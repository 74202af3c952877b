//! Files of credentials, and what is said of those that cannot be used.

mod common;

use std::fs;

use common::{Authority, Peers, TestResult, authority_params, peer_params};
use holstein_tls::{ClientCredentials, CredentialOptions, ServerCredentials};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};

/// What is said of a directory, for a server and for a client; nothing where all is well.
fn said(options: &CredentialOptions) -> [String; 2] {
    let server = ServerCredentials::load(options).map(drop);
    let client = ClientCredentials::load(options).map(drop);
    let dir = options.dir.display().to_string();
    [server.err().map(|e| e.to_string()), client.err().map(|e| e.to_string())]
        .map(|text| text.unwrap_or_default().replace(&dir, "D"))
}

#[test]
fn certificates_that_are_not_for_this_are_refused_by_name() -> TestResult {
    let peers = Peers::new("tls-sanity")?;
    type Change = fn(&mut CertificateParams);
    let own: [(&str, Change, &str); 8] = [
        ("fine", |_| {}, ""),
        (
            "expired",
            |p| {
                (p.not_before, p.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1))
            },
            "The S certificate D/S-cert.pem has expired",
        ),
        (
            "future",
            |p| {
                (p.not_before, p.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1))
            },
            "The S certificate D/S-cert.pem is not yet active",
        ),
        (
            "authority",
            |p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
            "The certificate D/S-cert.pem basic constraints show a CA, but we need one for a S",
        ),
        ("silent", |p| (p.key_usages, p.extended_key_usages) = (vec![], vec![]), ""),
        (
            "signs-only",
            |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            "Certificate D/S-cert.pem usage does not permit key encipherment",
        ),
        (
            "never-signs",
            |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
            "Certificate D/S-cert.pem usage does not permit digital signature",
        ),
        // Purposes that others may overlook are no reason.
        ("mail", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection], ""),
    ];
    for (name, change, expected) in own {
        let mut params = peer_params(name)?;
        change(&mut params);
        peers.authority.fill(&peers.path(name), params)?;
        let expected = ["server", "client"].map(|side| expected.replace('S', side));
        assert_eq!(said(&peers.options(name)), expected, "{name}");
    }
    let authorities: [(&str, Change, &str); 5] = [
        ("ca-fine", |_| {}, ""),
        (
            "ca-expired",
            |p| {
                (p.not_before, p.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1))
            },
            "The CA certificate D/ca-cert.pem has expired",
        ),
        (
            "ca-is-none",
            |p| p.is_ca = IsCa::ExplicitNoCa,
            "The certificate D/ca-cert.pem basic constraints do not show a CA",
        ),
        (
            "ca-says-nothing",
            |p| p.is_ca = IsCa::NoCa,
            "The certificate D/ca-cert.pem is missing basic constraints for a CA",
        ),
        (
            "ca-never-signs",
            |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
            "Certificate D/ca-cert.pem usage does not permit certificate signing",
        ),
    ];
    for (name, change, expected) in authorities {
        let mut params = authority_params("Test CA")?;
        change(&mut params);
        Authority::of(params)?.fill(&peers.path(name), peer_params(name)?)?;
        let expected = [expected, expected].map(str::to_owned);
        assert_eq!(said(&peers.options(name)), expected, "{name}");
        let blind = CredentialOptions { sanity_check: false, ..peers.options(name) };
        assert_eq!(said(&blind), [""; 2], "{name}: who does not look sees nothing");
    }
    Ok(())
}

#[test]
fn files_are_found_by_their_names_and_judged_one_by_one() -> TestResult {
    let peers = Peers::new("tls-files")?;
    let other = Peers::new("tls-files-other")?;
    let foreign = |name: &str| other.path("server").join(name);
    let dir = peers.path("case");
    let case = |change: &dyn Fn() -> std::io::Result<()>| -> TestResult<[String; 2]> {
        let _ = fs::remove_dir_all(&dir);
        peers.authority.fill(&dir, peer_params("case")?)?;
        change()?;
        Ok(said(&peers.options("case")))
    };
    let noent = "No such file or directory (os error 2)";
    let missing = |name: &str| format!("Unable to access credentials D/{name}: {noent}");
    let place = dir.as_path();
    let remove = |name: &'static str| move || fs::remove_file(place.join(name));
    let write = |name: &'static str, text: &'static str| move || fs::write(place.join(name), text);
    assert_eq!(case(&|| Ok(()))?, [""; 2]);
    assert_eq!(case(&remove("ca-cert.pem"))?, [missing("ca-cert.pem"), missing("ca-cert.pem")]);
    assert_eq!(case(&remove("server-cert.pem"))?, [missing("server-cert.pem"), String::new()]);
    assert_eq!(case(&remove("server-key.pem"))?, [missing("server-key.pem"), String::new()]);
    assert_eq!(case(&remove("client-key.pem"))?, [""; 2], "a client may have none");
    let empty = "Unable to import CA certificate list D/ca-cert.pem";
    assert_eq!(case(&write("ca-cert.pem", "words"))?, [empty; 2]);
    let none = "Unable to import server certificate D/server-cert.pem: Base64 unexpected header \
                error.";
    assert_eq!(case(&write("server-cert.pem", "words"))?, [none, ""]);
    let list = "Cannot load CRL 'D/ca-crl.pem': Base64 unexpected header error.";
    assert_eq!(case(&write("ca-crl.pem", "words"))?, [list, ""], "a client reads no list");
    let pair = "Cannot load certificate 'D/server-cert.pem' & key 'D/server-key.pem': ";
    for (text, reason) in [
        ("words", "The requested data were not available."),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "keys encrypted in this way are not available in this version",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
            "keys encrypted in this old way are not available in this version",
        ),
    ] {
        assert_eq!(
            case(&write("server-key.pem", text))?,
            [format!("{pair}{reason}"), String::new()]
        );
    }
    let copy = |name: &'static str| {
        let (from, to) = (foreign(name), place.join(name));
        move || fs::copy(&from, &to).map(drop)
    };
    let reason = "The certificate and the given key do not match.";
    assert_eq!(case(&copy("server-key.pem"))?, [format!("{pair}{reason}"), String::new()]);
    let untrusted = |side: &str| {
        format!(
            "Our own certificate D/{side}-cert.pem failed validation against D/ca-cert.pem: The \
             certificate hasn't got a known issuer"
        )
    };
    assert_eq!(case(&copy("ca-cert.pem"))?, [untrusted("server"), untrusted("client")]);
    Ok(())
}

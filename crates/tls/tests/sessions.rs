//! Both sides under TLS: disks through it, and who is let in.

mod common;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use common::{Authority, Peers, Running, SIZE, TestResult, client, peer_params, refused};
use holstein_nbd::{Address, NbdStorage, list};
use holstein_storage::Storage;
use holstein_testkit::Rng;
use holstein_tls::{ClientCredentials, CredentialOptions, ServerCredentials, TlsClient, TlsServer};
use holstein_units::HostOffset;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut numbers = Rng::new(seed);
    let mut bytes = vec![0; len];
    bytes.chunks_mut(8).for_each(|chunk| {
        chunk.copy_from_slice(&numbers.next_u64().to_be_bytes()[..chunk.len()]);
    });
    bytes
}

#[test]
fn large_requests_of_many_threads_go_both_ways_at_once() -> TestResult {
    let peers = Peers::new("tls-threads")?;
    for priority in ["NORMAL:-VERS-TLS1.3", "NORMAL:-VERS-TLS1.2", "NORMAL"] {
        let options =
            |name| CredentialOptions { priority: Some(priority.to_owned()), ..peers.options(name) };
        let server = TlsServer::new(ServerCredentials::load(&options("server"))?);
        let running = Running::start(server)?;
        let storage = NbdStorage::new(running.connect(client(&options("client"), "localhost")?)?);
        assert_eq!(storage.len()?, SIZE as u64);
        let part = SIZE / 4;
        std::thread::scope(|scope| {
            for nth in 0..4 {
                let storage = &storage;
                scope.spawn(move || {
                    let at = HostOffset::new((nth * part) as u64);
                    for round in 0..3 {
                        let data = noise((nth * 10 + round) as u64, part);
                        let (one, two) = data.split_at(round * 12_345 + 1);
                        let both = [IoSlice::new(one), IoSlice::new(two)];
                        storage.write_vectored_at(at, &both).expect("a write");
                        let mut back = vec![0; part];
                        assert_eq!(storage.read_at(at, &mut back).expect("a read"), part);
                        assert!(back == data, "{priority}");
                    }
                });
            }
        });
        storage.flush()?;
        drop(storage);
        assert_eq!(*running.ended.lock().expect("nobody panics"), [""; 0], "{priority}");
    }
    Ok(())
}

#[test]
fn exports_are_listed_and_a_goodbye_is_heard() -> TestResult {
    let peers = Peers::new("tls-list")?;
    let running = Running::start(peers.server()?)?;
    let listed = list(&Address::Unix(running.path.clone()), Some(&peers.client()?))?;
    assert_eq!(listed.len(), 1);
    drop(running.connect(peers.client()?)?);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(*running.ended.lock().expect("nobody panics"), [""; 0]);
    Ok(())
}

#[test]
fn a_server_has_to_be_who_it_should_be() -> TestResult {
    let peers = Peers::new("tls-server-judged")?;
    let running = Running::start(peers.server()?)?;
    for host in ["localhost", "127.0.0.1"] {
        running.connect(client(&peers.options("client"), host)?)?;
    }
    for host in ["other", "127.0.0.2", "", "local host", "localhost.example"] {
        let text = refused(running.connect(client(&peers.options("client"), host)?));
        assert_eq!(text, format!("Certificate does not match the hostname {host}"));
    }
    let unnamed = TlsClient::new(ClientCredentials::load(&peers.options("client"))?, None);
    assert_eq!(refused(running.connect(unnamed)), "No hostname for certificate validation");

    Authority::new("Test CA")?.fill(&peers.path("stranger"), peer_params("stranger")?)?;
    let text = refused(running.connect(client(&peers.options("stranger"), "localhost")?));
    assert_eq!(text, "The certificate hasn't got a known issuer");

    // Those who do not want to know are not asked for a name either; the server still judges them.
    let trusting = CredentialOptions { verify_peer: false, ..peers.options("client") };
    for host in [Some("other"), Some("local host"), None] {
        let credentials = ClientCredentials::load(&trusting)?;
        running.connect(TlsClient::new(credentials, host.map(str::to_owned)))?;
    }
    Ok(())
}

#[test]
fn a_client_has_to_have_a_certificate_that_counts() -> TestResult {
    let peers = Peers::new("tls-client-judged")?;
    let running = Running::start(peers.server()?)?;
    Authority::new("Other CA")?.fill(&peers.path("stranger"), peer_params("stranger")?)?;
    let stranger = CredentialOptions { verify_peer: false, ..peers.options("stranger") };
    assert!(running.connect(client(&stranger, "localhost")?).is_err());
    assert_eq!(running.last_end(), "The certificate hasn't got a known issuer");

    let nobody = peers.path("nobody");
    std::fs::create_dir(&nobody)?;
    std::fs::copy(peers.path("client").join("ca-cert.pem"), nobody.join("ca-cert.pem"))?;
    assert!(running.connect(client(&peers.options("nobody"), "localhost")?).is_err());
    assert_eq!(running.last_end(), "Verify failed: No certificate was found.");
    drop(running);

    // A server that does not verify takes both.
    let options = CredentialOptions { verify_peer: false, ..peers.options("server") };
    let running = Running::start(TlsServer::new(ServerCredentials::load(&options)?))?;
    running.connect(client(&peers.options("nobody"), "localhost")?)?;
    running.connect(client(&stranger, "localhost")?)?;
    Ok(())
}

#[test]
fn names_decide_who_may_come_in() -> TestResult {
    let peers = Peers::new("tls-names")?;
    let expected = "C=XY,O=Org\\, Inc,CN=client 1";
    for (allowed, comes_in) in [(expected, true), ("CN=client 1", false)] {
        let server = peers.server()?.authorize(Arc::new(move |name| name == allowed));
        let running = Running::start(server)?;
        let outcome = running.connect(peers.client()?);
        assert_eq!(outcome.is_ok(), comes_in, "{allowed}");
        if !comes_in {
            let text = format!("TLS x509 authz check for {expected} is denied");
            assert_eq!(running.last_end(), text);
        }
    }
    // Who shows no certificate has no name.
    let options = CredentialOptions { verify_peer: false, ..peers.options("server") };
    let server = TlsServer::new(ServerCredentials::load(&options)?);
    let running = Running::start(server.authorize(Arc::new(|_| true)))?;
    assert!(running.connect(peers.client()?).is_err());
    Ok(())
}

#[test]
fn a_certificate_that_was_taken_back_does_not_count() -> TestResult {
    let peers = Peers::new("tls-revoked")?;
    let mut params = peer_params("client 2")?;
    params.serial_number = Some(SerialNumber::from(77_u64));
    peers.authority.fill(&peers.path("second"), params)?;
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    for (serial, comes_in) in [(78, true), (77, false)] {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked(serial)],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&peers.authority.certificate, &peers.authority.key)?;
        std::fs::write(peers.path("server").join("ca-crl.pem"), list.pem()?)?;
        let running = Running::start(peers.server()?)?;
        running.connect(peers.client()?)?;
        let outcome = running.connect(client(&peers.options("second"), "localhost")?);
        assert_eq!(outcome.is_ok(), comes_in, "{serial}");
        if !comes_in {
            assert_eq!(running.last_end(), "The certificate has been revoked");
        }
    }
    Ok(())
}

#[test]
fn a_certificate_for_another_purpose_does_not_count() -> TestResult {
    let peers = Peers::new("tls-purpose")?;
    let mut params = peer_params("mail")?;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection];
    peers.authority.fill(&peers.path("mail"), params)?;
    let server = TlsServer::new(ServerCredentials::load(&peers.options("mail"))?);
    let running = Running::start(server)?;
    let text = refused(running.connect(peers.client()?));
    assert!(text.starts_with("Verify failed: "), "{text}");
    drop(running);
    let running = Running::start(peers.server()?)?;
    assert!(running.connect(client(&peers.options("mail"), "localhost")?).is_err());
    assert!(running.last_end().starts_with("Verify failed: "));

    // A name in the subject is none that counts.
    let mut params = peer_params("localhost")?;
    params.subject_alt_names.clear();
    peers.authority.fill(&peers.path("bare"), params)?;
    let server = TlsServer::new(ServerCredentials::load(&peers.options("bare"))?);
    let running = Running::start(server)?;
    let text = refused(running.connect(peers.client()?));
    assert_eq!(text, "Certificate does not match the hostname localhost");
    Ok(())
}

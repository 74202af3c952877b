//! Both sides by keys that they share.

mod common;

use std::fs;

use common::{Peers, Running, SIZE, TestResult, client, refused};
use holstein_nbd::NbdStorage;
use holstein_storage::Storage;
use holstein_testkit::TempDir;
use holstein_tls::{
    ClientCredentials, CredentialOptions, ServerCredentials, SharedKeyOptions, TlsClient, TlsServer,
};
use holstein_units::HostOffset;

const ALICE: &str = "00112233445566778899aabbccddeeff";
const BOB: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What both sides say where one has a key that the other has not.
const UNEQUAL: &str = "TLS handshake failed: An illegal parameter has been received.";
const CUT: &str = "TLS handshake failed: The TLS connection was non-properly terminated.";

fn keys(dir: &TempDir, name: &str, text: &str) -> TestResult<SharedKeyOptions> {
    let path = dir.path().join(name);
    fs::create_dir_all(&path)?;
    fs::write(path.join("keys.psk"), text)?;
    Ok(SharedKeyOptions::new(path))
}

fn server(options: &SharedKeyOptions) -> TestResult<TlsServer> {
    Ok(TlsServer::new(ServerCredentials::load_shared_keys(options)?))
}

fn of(options: &SharedKeyOptions, username: &str) -> TestResult<TlsClient> {
    let options = SharedKeyOptions { username: Some(username.to_owned()), ..options.clone() };
    Ok(TlsClient::new(ClientCredentials::load_shared_key(&options)?, None))
}

#[test]
fn a_disk_is_read_and_written_by_everybody_who_has_a_key() -> TestResult {
    let dir = TempDir::new("psk-disk")?;
    let options = keys(&dir, "all", &format!("# keys\n\nqemu:{ALICE}\nbob:{BOB}\n#6361:{BOB}"))?;
    let running = Running::start(server(&options)?)?;
    let own = keys(&dir, "ca", &format!("ca:{BOB}"))?;
    let unnamed = TlsClient::new(ClientCredentials::load_shared_key(&options)?, None);
    for client in [unnamed, of(&options, "bob")?, of(&own, "ca")?] {
        let storage = NbdStorage::new(running.connect(client)?);
        let data: Vec<u8> = (0..SIZE / 2).map(|at| (at * 7 % 251) as u8).collect();
        std::thread::scope(|scope| {
            for half in [0, SIZE / 2] {
                let (storage, data) = (&storage, &data);
                scope.spawn(move || {
                    let at = HostOffset::new(half as u64);
                    let mut back = vec![0; data.len()];
                    for _ in 0..3 {
                        storage.write_at(at, data).expect("a write");
                        assert_eq!(storage.read_at(at, &mut back).expect("a read"), back.len());
                        assert!(back == *data);
                        back.fill(0);
                    }
                });
            }
        });
        storage.flush()?;
    }
    assert_eq!(*running.ended.lock().expect("nobody panics"), [""; 0]);
    Ok(())
}

#[test]
fn who_has_no_key_or_another_one_is_not_let_in() -> TestResult {
    let dir = TempDir::new("psk-refused")?;
    let options = keys(&dir, "server", &format!("alice:{ALICE}\n"))?;
    let running = Running::start(server(&options)?)?;
    let other = keys(&dir, "other", &format!("alice:{BOB}\nmallory:{ALICE}\nalic:{ALICE}\n"))?;
    for name in ["alice", "mallory", "alic"] {
        assert_eq!(refused(running.connect(of(&other, name)?)), CUT, "{name}");
        assert_eq!(running.last_end(), UNEQUAL, "{name}");
    }
    running.connect(of(&options, "alice")?)?;
    Ok(())
}

#[test]
fn certificates_and_keys_do_not_meet() -> TestResult {
    let peers = Peers::new("psk-x509")?;
    let options = keys(&peers.dir, "keys", &format!("alice:{ALICE}\n"))?;
    // A server with a certificate is nobody to who wants a key, however good it is.
    let trusting = CredentialOptions { verify_peer: false, ..peers.options("server") };
    let certified = TlsServer::new(ServerCredentials::load(&trusting)?);
    let running = Running::start(certified)?;
    let text = refused(running.connect(of(&options, "alice")?));
    assert!(text.starts_with("TLS handshake failed: "), "{text}");
    running.connect(client(&peers.options("client"), "localhost")?)?;

    let running = Running::start(server(&options)?)?;
    let text = refused(running.connect(client(&peers.options("client"), "localhost")?));
    assert!(text.starts_with("TLS handshake failed: "), "{text}");
    running.connect(of(&options, "alice")?)?;
    Ok(())
}

#[test]
fn a_change_of_the_file_counts_for_the_next_client() -> TestResult {
    let dir = TempDir::new("psk-changes")?;
    let options = keys(&dir, "server", &format!("alice:{ALICE}\n"))?;
    let both = keys(&dir, "both", &format!("alice:{ALICE}\nbob:{BOB}\n"))?;
    let running = Running::start(server(&options)?)?;
    assert_eq!(refused(running.connect(of(&both, "bob")?)), CUT);
    keys(&dir, "server", &format!("bob:{BOB}\n"))?;
    running.connect(of(&both, "bob")?)?;
    assert_eq!(refused(running.connect(of(&both, "alice")?)), CUT);
    assert_eq!(running.last_end(), UNEQUAL);
    // Without the file there is no key, and the server says so; the client may be cut off at any moment.
    fs::remove_file(options.dir.join("keys.psk"))?;
    assert!(running.connect(of(&both, "bob")?).is_err());
    let end = running.last_end();
    assert!(end.starts_with("Unable to access credentials "), "{end}");
    Ok(())
}

#[test]
fn what_is_no_key_is_refused_before_anybody_comes() -> TestResult {
    let dir = TempDir::new("psk-files")?;
    let many: String = (0..1001).map(|nth| format!("u{nth}:{ALICE}\n")).collect();
    let path = |options: &SharedKeyOptions| options.dir.join("keys.psk").display().to_string();
    let options = keys(&dir, "c", &format!("odd:{ALICE}0\nbad:zz\nshort:0011\nlong:"))?;
    for (name, reason) in [
        ("nobody", format!("Username nobody not found in PSK file {}", path(&options))),
        ("", format!("Username  not found in PSK file {}", path(&options))),
        ("odd", "Cannot set PSK client credentials: Error in parsing.".to_owned()),
        ("bad", "Cannot set PSK client credentials: Error in parsing.".to_owned()),
        ("short", "Cannot set PSK client credentials: The request is invalid.".to_owned()),
        ("long", "Cannot set PSK client credentials: The request is invalid.".to_owned()),
    ] {
        let error = of(&options, name).expect_err("it is no key");
        assert_eq!(error.to_string(), reason, "{name}");
    }
    let crowd = keys(&dir, "many", &many)?;
    let error = ServerCredentials::load_shared_keys(&crowd).expect_err("too many").to_string();
    assert!(error.ends_with("keys.psk has more than 1000 keys"), "{error}");
    let named = SharedKeyOptions { username: Some("x".to_owned()), ..options.clone() };
    let error = ServerCredentials::load_shared_keys(&named).expect_err("a name").to_string();
    assert_eq!(error, "username should not be set when endpoint=server");
    let old = SharedKeyOptions { priority: Some("NORMAL:-VERS-TLS1.3".to_owned()), ..options };
    let error = ServerCredentials::load_shared_keys(&old).expect_err("no version").to_string();
    assert_eq!(error, "priority 'NORMAL:-VERS-TLS1.3' is not available in this version");
    Ok(())
}

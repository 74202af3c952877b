//! Peers that cut, change, repeat or slow down what goes over the wire.

mod common;

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Peers, Running, TestResult, connect};
use holstein_nbd::{Address, Channel, Link, NbdStorage, Security, Socket, Target};
use holstein_storage::Storage;
use holstein_testkit::{Rng, TempDir};
use holstein_units::HostOffset;

/// The server's first words and the client's, and the wish for TLS with its acknowledgement.
fn begin(stream: &mut UnixStream) -> TestResult {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut hello = [0; 18];
    stream.read_exact(&mut hello)?;
    stream.write_all(&[0, 0, 0, 3])?;
    stream.write_all(b"IHAVEOPT\0\0\0\x05\0\0\0\0")?;
    let mut reply = [0; 20];
    stream.read_exact(&mut reply)?;
    assert_eq!(reply[8..], [0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]);
    Ok(())
}

fn still_works(peers: &Peers, running: &Running) -> TestResult {
    let storage = NbdStorage::new(running.connect(peers.client()?)?);
    let mut bytes = [1; 4096];
    storage.read_at(HostOffset::new(0), &mut bytes)?;
    Ok(())
}

#[test]
fn noise_instead_of_tls_harms_nobody_and_tells_nothing() -> TestResult {
    let peers = Peers::new("tls-noise")?;
    let running = Running::start(peers.server()?)?;
    let mut numbers = Rng::new(5);
    let plain = b"IHAVEOPT\0\0\0\x03\0\0\0\0".to_vec();
    for nth in 0..40_u64 {
        let mut stream = UnixStream::connect(&running.path)?;
        begin(&mut stream)?;
        let noise = match nth {
            0 => plain.clone(),
            // The beginning of what looks like a hello.
            _ => {
                let mut noise = vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
                noise.extend((0..numbers.next_u64() % 300).map(|_| numbers.next_u64() as u8));
                if nth % 2 == 0 {
                    noise[0] = numbers.next_u64() as u8;
                }
                noise
            }
        };
        stream.write_all(&noise)?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let said = heard.windows(8).any(|part| part == 0x0003_e889_0455_65a9_u64.to_be_bytes());
        assert!(!said, "a reply in plain came after the wish for TLS");
    }
    still_works(&peers, &running)
}

#[test]
fn who_dawdles_within_tls_is_sent_away_and_delays_nobody() -> TestResult {
    let peers = Peers::new("tls-slow")?;
    let tls = Arc::new(peers.server()?);
    let limit = Some(Duration::from_millis(1500));
    let running = Running::with(|server| server.security(Some(tls)).handshake_limit(limit))?;
    let mut slow = UnixStream::connect(&running.path)?;
    begin(&mut slow)?;
    let start = Instant::now();
    // A record of 16000 bytes, of which one comes now and then.
    slow.write_all(&[22, 3, 1, 0x3e, 0x80])?;
    let mut others = 0;
    while slow.write_all(&[1]).is_ok() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
        if start.elapsed() < Duration::from_secs(1) {
            still_works(&peers, &running)?;
            others += 1;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "it was not sent away");
    assert!(others > 0);
    assert_eq!(running.last_end(), "the handshake took too long");
    Ok(())
}

/// Carries bytes between a client and a server, as far as `change` lets them.
fn relay(
    mut from: UnixStream,
    mut to: UnixStream,
    mut change: impl FnMut(u64, &mut [u8]) -> bool + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut bytes, mut at) = (vec![0; 4096], 0);
        while let Ok(read) = from.read(&mut bytes)
            && read > 0
        {
            if !change(at, &mut bytes[..read]) || to.write_all(&bytes[..read]).is_err() {
                break;
            }
            at += read as u64;
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    })
}

#[test]
fn bytes_that_were_changed_or_cut_are_never_data() -> TestResult {
    let peers = Peers::new("tls-changed")?;
    let running = Running::start(peers.server()?)?;
    let pattern = vec![0x77; 1 << 20];
    let storage = NbdStorage::new(running.connect(peers.client()?)?);
    storage.write_at(HostOffset::new(0), &pattern)?;
    let dir = TempDir::new("tls-relay")?;
    // Places in what the server says: within the agreement, in data, and none at all.
    for (place, cut) in [
        (None, false),
        (Some(100), false),
        (Some(900), false),
        (Some(300_000), false),
        (Some(100), true),
        (Some(300_000), true),
    ] {
        let path = dir.path().join("r");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let server = running.path.clone();
        let relays = std::thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client comes");
            let server = UnixStream::connect(server).expect("the server is there");
            let copy = |stream: &UnixStream| stream.try_clone().expect("there are files");
            let there = relay(copy(&client), copy(&server), |_, _| true);
            let back = relay(server, client, move |at, bytes| {
                let Some(place) = place else { return true };
                let hit = usize::try_from(place - at.min(place)).ok().filter(|_| place >= at);
                match hit.and_then(|hit| bytes.get_mut(hit)) {
                    Some(_) if cut => false,
                    Some(byte) => {
                        *byte ^= 1;
                        true
                    }
                    None => true,
                }
            });
            let _ = (there.join(), back.join());
        });
        let target = Target { address: Address::Unix(path), export: String::new() };
        let mut bytes = vec![0; pattern.len()];
        let read = connect(&target, peers.client()?).map_err(|error| error.to_string()).and_then(
            |client| {
                let storage = NbdStorage::new(client);
                storage.read_at(HostOffset::new(0), &mut bytes).map_err(|error| error.to_string())
            },
        );
        assert_eq!(read.is_ok(), place.is_none(), "{place:?} {cut} {read:?}");
        if read.is_ok() {
            assert!(bytes == pattern);
        }
        relays.join().expect("it does not panic");
    }
    still_works(&peers, &running)
}

#[test]
fn a_server_that_is_no_tls_server_is_not_believed() -> TestResult {
    let peers = Peers::new("tls-no-server")?;
    let dir = TempDir::new("tls-no-server-socket")?;
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path)?;
    let target = Target { address: Address::Unix(path), export: String::new() };
    // What it says behind the acknowledgement: a reply in plain, noise, nothing.
    let forged = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &[0, 0, 0, 7, 0, 0, 0, 1]].concat();
    for behind in [forged, vec![0x55; 500], vec![]] {
        let (heard, error) = std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a client comes");
                let mut said = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
                said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
                said.extend([0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]);
                said.extend(&behind);
                let _ = stream.write_all(&said);
                let _ = stream.shutdown(Shutdown::Write);
                let mut heard = Vec::new();
                let _ = stream.read_to_end(&mut heard);
                heard
            });
            let client = peers.client().expect("the files are there");
            let error = connect(&target, client).err().expect("that is no server to trust");
            (server.join().expect("it does not panic"), error.to_string())
        });
        assert!(error.starts_with("TLS handshake failed: "), "{error}");
        let options = heard.windows(8).filter(|part| *part == b"IHAVEOPT").count();
        assert_eq!(options, 1, "nothing was asked for but TLS");
    }
    Ok(())
}

/// An end of a connection under TLS, and the link under it.
type End = (Arc<Link>, Arc<dyn Channel>);

/// Both ends of a connection, the server's first.
fn ends(peers: &Peers) -> TestResult<[End; 2]> {
    let (one, other) = UnixStream::pair()?;
    let link = |stream| Arc::new(Link::new(Socket::Unix(stream)));
    let (one, other) = (link(one), link(other));
    let (server, client) = (peers.server()?, peers.client()?);
    let ours = Arc::clone(&one);
    let server = std::thread::spawn(move || server.secure(ours));
    let client = client.secure(Arc::clone(&other))?;
    let server = server.join().expect("it does not panic")?;
    Ok([(one, server), (other, client)])
}

#[test]
fn nobody_waits_for_a_peer_that_does_not_listen_but_who_sends_to_it() -> TestResult {
    let peers = Peers::new("tls-deaf")?;
    let [(link, server), (_, client)] = ends(&peers)?;
    let sends = std::thread::spawn({
        let server = Arc::clone(&server);
        // More than what fits between them: it waits until the link is shut down.
        move || server.send(&[IoSlice::new(&vec![7; 16 << 20])])
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!sends.is_finished(), "nobody takes the bytes");
    client.send(&[IoSlice::new(b"word")])?;
    let mut bytes = [0; 4];
    assert_eq!((server.receive(&mut bytes)?, &bytes), (4, b"word"), "it is heard all the same");
    link.shutdown();
    assert!(sends.join().expect("it does not panic").is_err());
    Ok(())
}

//! Connections that become secure, by a veil that stands in for TLS: what may be said before, what counts
//! afterwards, and what is in between.

mod common;

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{BLOCK, MemoryDisk, Numbers, Wire, info, server, session, settings};
use holstein_nbd::numbers::{OPTION_MAGIC, option, option_reply as reply};
use holstein_nbd::{
    AcceptOptions, Address, Channel, Client, ClientError, ConnectOptions, Export, Link, Listener,
    NbdStorage, Security, Server, SessionError, Target, Waker, accept, list,
};
use holstein_storage::Storage;
use holstein_units::HostOffset;

/// What both sides say before their words are veiled.
const WORD: &[u8; 4] = b"VEIL";

/// Each byte is changed on its way, which keeps nobody from anything but mistakes.
#[derive(Debug)]
struct Veil;

struct Veiled {
    link: Arc<Link>,
    sending: Mutex<()>,
}

fn veil(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
}

impl Security for Veil {
    fn secure(&self, link: Arc<Link>) -> io::Result<Arc<dyn Channel>> {
        (&*link).write_all(WORD)?;
        let mut word = [0; 4];
        (&*link).read_exact(&mut word)?;
        if word != *WORD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no veil"));
        }
        Ok(Arc::new(Veiled { link, sending: Mutex::default() }))
    }
}

impl Channel for Veiled {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.link).read(into)?;
        veil(&mut into[..read]);
        Ok(read)
    }

    fn send(&self, from: &[IoSlice<'_>]) -> io::Result<()> {
        let mut bytes: Vec<u8> = from.iter().flat_map(|part| part.iter().copied()).collect();
        veil(&mut bytes);
        let _held = self.sending.lock().expect("no test panics while it holds this");
        (&*self.link).write_all(&bytes)
    }

    fn close(&self) {}
}

fn veiled_server(disk: &Arc<MemoryDisk>) -> Server {
    server(disk).security(Some(Arc::new(Veil)))
}

fn disk() -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::new(256))
}

/// An option and its last reply, both veiled.
fn ask_veiled(stream: &mut UnixStream, number: u32, data: &[u8]) -> (u32, Vec<u8>) {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    veil(&mut bytes);
    stream.write_all(&bytes).expect("the server reads");
    loop {
        let mut header = [0; 20];
        stream.read_exact(&mut header).expect("the server answers");
        veil(&mut header);
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four"));
        assert_eq!(word(8), number);
        let mut text = vec![0; word(16) as usize];
        stream.read_exact(&mut text).expect("the server answers");
        veil(&mut text);
        if word(12) == reply::ACK || word(12) & reply::ERROR != 0 {
            return (word(12), text);
        }
    }
}

fn begin_veil(wire: &mut Wire) {
    assert_eq!(wire.ask(option::STARTTLS, &[]), [(reply::ACK, vec![])]);
    wire.send(WORD);
    assert_eq!(wire.bytes(4), WORD);
}

#[test]
fn before_the_connection_is_secure_nothing_is_told() {
    let (mut wire, ended) = session(&veiled_server(&disk()));
    wire.hello(3);
    for (number, data) in [
        (option::LIST, vec![]),
        (option::INFO, info("disk", &[])),
        (option::GO, info("disk", &[])),
        (option::GO, vec![1]),
        (option::STRUCTURED_REPLY, vec![]),
        (option::EXTENDED_HEADERS, vec![]),
        (option::LIST_META_CONTEXT, vec![0; 8]),
        (option::SET_META_CONTEXT, vec![0; 8]),
        (99, vec![]),
        (99, vec![0; 1 << 20]),
    ] {
        let text = format!("Option {number:#x} not permitted before TLS").into_bytes();
        assert_eq!(wire.ask(number, &data), [(reply::ERR_TLS_REQD, text)]);
    }
    assert_eq!(wire.ask(option::STARTTLS, &[1])[0].0, reply::ERR_INVALID);
    assert_eq!(wire.ask(option::ABORT, &[]), [(reply::ACK, vec![])]);
    assert!(matches!(ended.join(), Ok(Ok(()))));

    for name in [&b"disk"[..], b"wrong"] {
        let (mut wire, ended) = session(&veiled_server(&disk()));
        wire.hello(3);
        wire.option(option::EXPORT_NAME, name);
        assert_eq!(wire.stream.read(&mut [0]).expect("this is the end"), 0);
        assert!(matches!(ended.join(), Ok(Err(SessionError::Insecure))));
    }
}

#[test]
fn the_handshake_begins_again_once_it_is_secure() {
    let (mut wire, ended) = session(&veiled_server(&disk()));
    wire.hello(3);
    begin_veil(&mut wire);
    let stream = &mut wire.stream;
    let again = ask_veiled(stream, option::STARTTLS, &[]);
    assert_eq!(again, (reply::ERR_INVALID, b"TLS already enabled".to_vec()));
    assert_eq!(ask_veiled(stream, option::STRUCTURED_REPLY, &[]).0, reply::ACK);
    assert_eq!(ask_veiled(stream, option::LIST, &[]).0, reply::ACK);
    assert_eq!(ask_veiled(stream, option::GO, &info("disk", &[])).0, reply::ACK);
    drop(wire);
    assert!(matches!(ended.join(), Ok(Err(SessionError::Cut))));
}

#[test]
fn words_in_plain_behind_the_option_are_never_taken_for_secure_ones() {
    let (mut wire, ended) = session(&veiled_server(&disk()));
    wire.hello(3);
    let mut both = Vec::new();
    for number in [option::STARTTLS, option::LIST] {
        both.extend(OPTION_MAGIC.to_be_bytes());
        both.extend(number.to_be_bytes());
        both.extend(0_u32.to_be_bytes());
    }
    wire.send(&both);
    assert_eq!(wire.replies(option::STARTTLS), [(reply::ACK, vec![])]);
    assert_eq!(wire.bytes(4), WORD, "the server begins, and hears a magic instead of the word");
    let ended = ended.join().expect("the server does not panic");
    assert!(matches!(ended, Err(SessionError::Security(_))), "{ended:?}");
    let mut rest = Vec::new();
    // What was not read may make the end one that is told as a failure.
    let _ = wire.stream.read_to_end(&mut rest);
    assert_eq!(rest, b"", "nothing was said about exports");
}

#[test]
fn a_client_that_dawdles_on_its_way_to_security_is_sent_away() {
    let limit = Some(Duration::from_millis(200));
    let (mut wire, ended) = session(&veiled_server(&disk()).handshake_limit(limit));
    wire.hello(3);
    assert_eq!(wire.ask(option::STARTTLS, &[]), [(reply::ACK, vec![])]);
    let begin = Instant::now();
    while !ended.is_finished() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(ended.join(), Ok(Err(SessionError::Slow))));
}

struct Running {
    path: PathBuf,
    waker: Arc<Waker>,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
    disk: Arc<MemoryDisk>,
}

fn fresh_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("holstein-nbd-veil-{}-{number}", std::process::id()))
}

impl Running {
    fn start(security: Option<Arc<dyn Security>>) -> Self {
        let (path, disk) = (fresh_path(), disk());
        let listener = Listener::unix(&path).expect("the path is free");
        let waker = Arc::new(Waker::new().expect("there are files to be had"));
        // A client that waits for what never comes is told so.
        let server = Server::new()
            .handshake_limit(Some(Duration::from_secs(10)))
            .export(Arc::clone(&disk) as Arc<dyn Export>, settings("disk"))
            .security(security);
        let other = Arc::clone(&waker);
        let options = AcceptOptions { clients: None, persistent: true };
        let run = move || accept(&server, &listener, options, &other, &|_| {});
        Self { path, waker, thread: Some(std::thread::spawn(run)), disk }
    }

    fn target(&self) -> Target {
        Target { address: Address::Unix(self.path.clone()), export: "disk".to_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.waker.end();
        if let Some(thread) = self.thread.take() {
            assert!(matches!(thread.join(), Ok(Ok(()))));
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn wanting(security: Arc<dyn Security>) -> ConnectOptions {
    ConnectOptions { security: Some(security), ..ConnectOptions::default() }
}

#[test]
fn a_disk_is_used_through_what_makes_it_secure() {
    let running = Running::start(Some(Arc::new(Veil)));
    let target = running.target();
    let options = wanting(Arc::new(Veil));
    let listed = list(&target.address, Some(&Veil)).expect("the server is there");
    assert_eq!(listed[0].name, "disk");
    let client = Client::connect_with(&target, &options).expect("both have it");
    let storage = NbdStorage::lasting(client, target, options, Duration::from_secs(5));
    let part = (64 * BLOCK) as u64;
    std::thread::scope(|scope| {
        for nth in 0..4 {
            let storage = &storage;
            scope.spawn(move || {
                let mut numbers = Numbers(7 + nth);
                let data: Vec<u8> = (0..part).map(|_| numbers.below(256) as u8).collect();
                let at = HostOffset::new(nth * part);
                storage.write_vectored_at(at, &[IoSlice::new(&data)]).expect("a write");
                let mut back = vec![0; data.len()];
                let read = storage.read_vectored_at(at, &mut [IoSliceMut::new(&mut back)]);
                assert_eq!(read.expect("a read"), data.len());
                assert!(back == data);
            });
        }
    });
    storage.flush().expect("the server is there");
    assert!(running.disk.flushes.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_client_that_wants_security_does_not_go_on_without() {
    let running = Running::start(None);
    let target = running.target();
    let refused = Client::connect_with(&target, &wanting(Arc::new(Veil))).err();
    let Some(ClientError::Refused { option: 5, kind: reply::ERR_POLICY, text }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(text, "TLS not configured");
    assert!(list(&target.address, Some(&Veil)).is_err());

    let running = Running::start(Some(Arc::new(Veil)));
    let refused = Client::connect(&running.target()).err().expect("it has to be secure");
    assert_eq!(refused.to_string(), "TLS negotiation required before option 7 (go)");
    let refused = list(&running.target().address, None).expect_err("it has to be secure");
    assert_eq!(refused.to_string(), "TLS negotiation required before option 3 (list)");
}

/// What a client says to a server that answers its first option with `answer`, and what becomes of it.
fn heard_after(answer: &[(u32, &[u8])], behind: &[u8]) -> (Vec<u8>, ClientError) {
    let path = fresh_path();
    let listener = UnixListener::bind(&path).expect("the path is free");
    let mut said = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    for (kind, data) in answer {
        said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
        let words = [option::STARTTLS, *kind, data.len() as u32];
        words.iter().for_each(|word| said.extend(word.to_be_bytes()));
        said.extend(*data);
    }
    said.extend(behind);
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        stream.write_all(&said).expect("it is short");
        // A client that waits for more learns that there is none.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let target = Target { address: Address::Unix(path.clone()), export: "disk".to_owned() };
    let refused = Client::connect_with(&target, &wanting(Arc::new(Veil)));
    let error = refused.err().expect("that is no server to trust");
    std::fs::remove_file(&path).expect("it is ours");
    (heard.join().expect("it does not panic"), error)
}

#[test]
fn a_client_says_nothing_in_plain_but_that_it_wants_security() {
    // Flags and one option; then, if anything, the word, or a goodbye.
    let (in_plain, goodbye) =
        (4 + 16, [&OPTION_MAGIC.to_be_bytes()[..], &[0, 0, 0, 2, 0, 0, 0, 0]]);
    for kind in [reply::ERR_POLICY, reply::ERR_UNSUP, reply::ERR_PLATFORM, reply::ERR_INVALID] {
        let (heard, error) = heard_after(&[(kind, b"no")], &[]);
        assert_eq!(heard[in_plain..], goodbye.concat(), "{error}");
        assert!(matches!(error, ClientError::Refused { option: option::STARTTLS, .. }));
    }
    let (heard, error) = heard_after(&[(reply::SERVER, b"x"), (reply::ACK, b"")], &[]);
    assert_eq!(heard.len(), in_plain);
    assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    // A reply that somebody put behind the acknowledgement is taken for a part of the agreement.
    let forged = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &[0, 0, 0, 7, 0, 0, 0, 1]].concat();
    let (heard, error) = heard_after(&[(reply::ACK, b"")], &forged);
    assert_eq!(heard[in_plain..], *WORD);
    assert!(matches!(error, ClientError::Security(_)), "{error:?}");
}

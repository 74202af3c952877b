//! A thousand sessions that break, at a server of a real image: it goes on serving, and the image is clean.

mod common;
#[path = "../../nbd/tests/common/spoken.rs"]
mod spoken;

use std::error::Error;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holstein_nbd::{Address, Client, ConnectOptions, NbdStorage, Target};
use holstein_storage::Storage;
use holstein_testkit::{Rng, TempDir};
use holstein_units::HostOffset;
use rustix::process::{Pid, Signal, kill_process};
use spoken::{Disk, broken_session};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");
const SIZE: u64 = 4 << 20;
/// The export without a name.
const DISK: Disk<'_> = Disk { name: "", reach: SIZE - 60_000 };
const THREADS: u64 = 4;
const EACH: u64 = 250;

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(image: &Path, socket: &Path) -> TestResult<Self> {
        let mut command = Command::new(OURS);
        command.args(["nbd", "-t", "-e", "9", "-f", "qcow2", "-k"]).arg(socket).arg(image);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self(child);
        let begin = Instant::now();
        while UnixStream::connect(socket).is_err() {
            if server.0.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
                return Err("nobody listens".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

/// Says it to the server. Some listen to what it answers, some do not, and some are gone at once.
fn meet(socket: &Path, numbers: &mut Rng) -> TestResult {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let said = broken_session(&mut |limit| numbers.below(limit), DISK);
    match numbers.below(3) {
        0 => {
            let mut listener = stream.try_clone()?;
            let listening = std::thread::spawn(move || {
                // A server that breaks off is as good as one that ends.
                let _ = listener.read_to_end(&mut Vec::new());
            });
            // The server may be gone before it heard all.
            let _ = stream.write_all(&said);
            let _ = stream.shutdown(Shutdown::Write);
            listening.join().map_err(|_| "the listener panics")?;
        }
        1 => {
            let _ = stream.write_all(&said);
            let _ = stream.shutdown(Shutdown::Both);
        }
        _ => {
            let _ = stream.write_all(&said);
        }
    }
    Ok(())
}

fn client(socket: &Path) -> TestResult<NbdStorage> {
    let target = Target { address: Address::Unix(socket.to_owned()), export: String::new() };
    Ok(NbdStorage::new(Client::connect_with(&target, &ConnectOptions::default())?))
}

#[test]
fn a_thousand_broken_sessions_leave_the_server_serving_and_the_image_clean() -> TestResult {
    let dir = TempDir::new("nbd-broken")?;
    let (image, socket) = (dir.path().join("i.qcow2"), dir.path().join("s"));
    let mut create = Command::new(OURS);
    create.args(["create", "-f", "qcow2", "-o", "cluster_size=4k"]).arg(&image);
    assert!(create.arg(SIZE.to_string()).stdout(Stdio::null()).status()?.success());
    let mut server = Server::start(&image, &socket)?;

    // One good client is there all the time.
    let good = client(&socket)?;
    std::thread::scope(|scope| -> TestResult {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let socket = &socket;
                scope.spawn(move || {
                    let mut numbers = Rng::new(thread + 1);
                    (0..EACH)
                        .try_for_each(|_| meet(socket, &mut numbers).map_err(|e| e.to_string()))
                })
            })
            .collect();
        let mut rounds = 0;
        while rounds < 20 || threads.iter().any(|thread| !thread.is_finished()) {
            let mut byte = [0];
            assert_eq!(good.read_at(HostOffset::new(rounds % SIZE), &mut byte)?, 1);
            good.write_at(HostOffset::new(SIZE - 512), &[rounds as u8; 512])?;
            good.flush()?;
            rounds += 1;
        }
        for thread in threads {
            thread.join().map_err(|_| "a thread panics")??;
        }
        Ok(())
    })?;

    let late = client(&socket)?;
    late.write_at(HostOffset::new(1 << 20), &[7; 4096])?;
    late.flush()?;
    let mut back = [0; 4096];
    assert_eq!(good.read_at(HostOffset::new(1 << 20), &mut back)?, 4096);
    assert_eq!(back, [7; 4096]);
    // The sessions came as far as the disk.
    let mut all = vec![0; usize::try_from(SIZE)?];
    assert_eq!(late.read_at(HostOffset::new(0), &mut all)?, all.len());
    assert!(all.iter().filter(|byte| **byte == 0x55).count() > 100_000);
    drop((good, late));
    kill_process(Pid::from_child(&server.0), Signal::TERM)?;
    assert_eq!(server.0.wait()?.code(), Some(0));

    let checked = Command::new(OURS).args(["check", "-f", "qcow2"]).arg(&image).output()?;
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    if let Some(oracle) = common::oracle("a_thousand_broken_sessions: check by qemu-img") {
        let checked = Command::new(oracle.qemu_img()).arg("check").arg(&image).output()?;
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
    Ok(())
}

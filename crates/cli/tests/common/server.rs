//! A server of ours, which ends with the test.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holstein");

/// A server on the socket `s` of a directory, which goes on when a client has left.
pub(crate) struct Server(Child);

impl Server {
    /// Where a server in `dir` listens.
    pub(crate) fn socket(dir: &Path) -> PathBuf {
        dir.join("s")
    }

    /// Starts one for a qcow2 image, and waits until it listens.
    pub(crate) fn start(dir: &Path, options: &[&str], image: &str) -> TestResult<Self> {
        let socket = Self::socket(dir);
        let mut command = Command::new(PROGRAM);
        command.args(["nbd", "-t", "-f", "qcow2", "-k"]).arg(&socket).args(options).arg(image);
        let mut server = Self(command.current_dir(dir).stdin(Stdio::null()).spawn()?);
        let begin = Instant::now();
        while !socket.exists() {
            if server.0.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(30) {
                return Err("the server does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Ends it as a signal does; it must end well.
    pub(crate) fn end(mut self) -> TestResult {
        let told = Command::new("kill").arg(self.0.id().to_string()).status()?;
        assert!(told.success() && self.0.wait()?.success());
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

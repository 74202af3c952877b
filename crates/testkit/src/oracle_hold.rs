//! A reference program that keeps an image open.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Oracle;

/// A `qemu-io` that waits for commands, with its image open and locked, until dropped.
#[derive(Debug)]
pub struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Held {
    /// Starts `qemu-io` with these arguments and waits until the image is open.
    ///
    /// # Errors
    /// If it cannot be started or does not open the image; the error has what it said.
    pub fn open<A: AsRef<OsStr>>(
        oracle: &Oracle,
        args: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let mut child = Command::new(oracle.qemu_io())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut held = Self { child, stdin, stdout };
        held.command("length")?;
        Ok(held)
    }

    /// Runs one command that answers with a line, and returns all that was printed up to its end.
    ///
    /// # Errors
    /// If the program is gone; the error has what it said.
    pub fn command(&mut self, line: &str) -> io::Result<String> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        // A program that is gone already is found out below, with its reason.
        drop(writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with('\n') {
            if self.stdout.read(&mut byte)? == 0 {
                let mut said = String::new();
                if let Some(stderr) = self.child.stderr.as_mut() {
                    stderr.read_to_string(&mut said)?;
                }
                return Err(io::Error::other(format!("{text}{said}")));
            }
            text.push(char::from(byte[0]));
        }
        Ok(text)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its commands ends the program; locks are gone when it was waited for.
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

//! A guest of a virtual machine on our server, and on an image of ours that QEMU opens itself.
//!
//! Without a machine nothing is tested, which is said.

#[path = "common/machine.rs"]
mod machine;
#[path = "common/server.rs"]
mod server;

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use holstein_testkit::{Oracle, TempDir, Verdict, Version};
use machine::Machine;
use server::Server;

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holstein");
const OLDEST: Version = Version { major: 10, minor: 0, patch: 0 };

/// Makes a file system and a file, and reads it back past the caches of the guest.
const MAKE: &str = "
/sbin/mke2fs -t ext4 -q -F /dev/vda && mount -t ext4 -o discard /dev/vda /mnt || poweroff -f
dd if=/dev/urandom of=/mnt/f bs=1M count=32; A=$(md5sum </mnt/f); sync; umount /mnt
mount -t ext4 /dev/vda /mnt; echo 3 >/proc/sys/vm/drop_caches; B=$(md5sum </mnt/f); umount /mnt
[ \"$A\" = \"$B\" ] && /sbin/e2fsck -fn /dev/vda && echo \"GUEST-OK $A\"
";

/// Reads the file that was made, and puts another one in its place.
const REPLACE: &str = "
mount -t ext4 -o discard /dev/vda /mnt || poweroff -f
A=$(md5sum </mnt/f); rm /mnt/f; sync
dd if=/dev/urandom of=/mnt/g bs=1M count=16; B=$(md5sum </mnt/g); sync; umount /mnt
mount -t ext4 /dev/vda /mnt; echo 3 >/proc/sys/vm/drop_caches; C=$(md5sum </mnt/g); umount /mnt
[ \"$B\" = \"$C\" ] && /sbin/e2fsck -fn /dev/vda && echo \"GUEST-OK $A\"
";

fn ok(dir: &Path, line: &str) -> TestResult {
    let words = line.split_whitespace();
    let output =
        Command::new(PROGRAM).args(words).current_dir(dir).stdin(Stdio::null()).output()?;
    assert!(output.status.success(), "{line}: {output:?}");
    Ok(())
}

/// The sum of the file that the guest says it has read.
fn sum(shown: &str) -> TestResult<String> {
    let line = shown.lines().find_map(|line| line.split_once("GUEST-OK "));
    let sum = line.and_then(|(_, rest)| rest.split_whitespace().next());
    sum.map(str::to_owned).ok_or_else(|| format!("the guest was not content: {shown}").into())
}

/// Both checks find nothing, and both programs read the same.
fn whole(oracle: &Oracle, dir: &Path) -> TestResult {
    let image = dir.join("image");
    let (verdict, said) = oracle.check(&image)?;
    assert_eq!(verdict, Verdict::Clean, "{said}");
    ok(dir, "check -q -f qcow2 image")?;
    ok(dir, "convert -f qcow2 -O raw image raw")?;
    assert!(oracle.same((&image, "qcow2"), (&dir.join("raw"), "raw"))?);
    Ok(())
}

#[test]
fn a_guest_keeps_files_on_our_server_and_on_our_image() -> TestResult {
    let test = "a_guest_keeps_files_on_our_server_and_on_our_image";
    let Some(machine) = Machine::find(test) else { return Ok(()) };
    let Some(oracle) = Oracle::find_or_skip(test, OLDEST) else { return Ok(()) };
    let dir = TempDir::new("guest")?;
    let dir = dir.path();
    ok(dir, "create -q -f qcow2 image 256M")?;
    let server = Server::start(dir, &["--discard=unmap"], "image")?;
    let drive = format!("file=nbd+unix:///?socket={},format=raw", Server::socket(dir).display());
    let made = sum(&machine.boot(dir, &drive, MAKE)?)?;
    server.end()?;
    whole(&oracle, dir)?;
    let read = sum(&machine.boot(dir, "file=image,format=qcow2", REPLACE)?)?;
    assert_eq!(read, made, "the file on the image is the one that went through the server");
    whole(&oracle, dir)
}

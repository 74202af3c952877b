//! TLS beside the real programs: each side serves the other, and both refuse in the same words.
//!
//! What is not installed is skipped, which is said.

mod common;

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holstein_testkit::{Oracle, Rng, TempDir, skipped};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const OURS: &str = env!("CARGO_BIN_EXE_holstein");

/// The client's name, as rules have it; its country is text of a kind that countries should not be.
const ODD_NAME: &str = "C=#0c025859,,L=R'lyeh,,O=Cthulhu\\,, Dark Lord \\+ Co,,CN=client 1";
/// The same with a country as it should be.
const NAME: &str = "C=XY,,L=R'lyeh,,O=Cthulhu\\,, Dark Lord \\+ Co,,CN=client 1";

/// An authority with its key.
struct Authority(Certificate, KeyPair);

impl Authority {
    fn new(name: &str) -> TestResult<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        Ok(Self(params.self_signed(&key)?, key))
    }

    /// A directory with this authority, and a certificate for one of the sides.
    fn fill(&self, dir: &Path, side: &str, purpose: ExtendedKeyUsagePurpose) -> TestResult {
        self.fill_from(dir, side, purpose, DnValue::PrintableString("XY".try_into()?))
    }

    fn fill_from(
        &self,
        dir: &Path,
        side: &str,
        purpose: ExtendedKeyUsagePurpose,
        country: DnValue,
    ) -> TestResult {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in [
            (DnType::CountryName, country),
            (DnType::LocalityName, "R'lyeh".into()),
            (DnType::OrganizationName, "Cthulhu, Dark Lord + Co".into()),
            (DnType::CommonName, "client 1".into()),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0, &self.1)?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca-cert.pem"), self.0.pem())?;
        fs::write(dir.join(format!("{side}-cert.pem")), certificate.pem())?;
        fs::write(dir.join(format!("{side}-key.pem")), key.serialize_pem())?;
        Ok(())
    }
}

/// A server in the foreground; it ends with the test.
struct Server(Child);

impl Server {
    fn start(program: &Path, dir: &Path, words: &[&str]) -> TestResult<Self> {
        let socket = dir.join("s");
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(program);
        command.arg0("qemu-nbd").args(["-t", "-e", "9", "-k"]).arg(&socket);
        command.args(words).current_dir(dir).stdin(Stdio::null());
        let mut server = Self(command.stderr(Stdio::null()).spawn()?);
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let gone = server.0.try_wait()?.is_some();
            if gone || begin.elapsed() > Duration::from_secs(30) {
                return Err(format!("{words:?}: nobody listens").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to be killed where it ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The programs of both sides, and certificates.
struct Both {
    oracle: Oracle,
    server: PathBuf,
    dir: TempDir,
}

impl Both {
    fn find(test: &str) -> TestResult<Option<Self>> {
        let Some(oracle) = common::oracle(test) else { return Ok(None) };
        let server = std::env::var_os("HOLSTEIN_QEMU_NBD").unwrap_or_else(|| "qemu-nbd".into());
        let version = Command::new(&server).arg("--version").output().ok();
        if !version.is_some_and(|output| output.stdout.starts_with(b"qemu-nbd 10.0.")) {
            skipped(&format!("{test}: there is no qemu-nbd of version 10.0"));
            return Ok(None);
        }
        let both = Self { oracle, server: server.into(), dir: TempDir::new(test)? };
        let authority = Authority::new("Test CA")?;
        authority.fill(&both.path("srv"), "server", ExtendedKeyUsagePurpose::ServerAuth)?;
        authority.fill(&both.path("cli"), "client", ExtendedKeyUsagePurpose::ClientAuth)?;
        let odd = DnValue::Utf8String("XY".to_owned());
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        authority.fill_from(&both.path("odd"), "client", client, odd)?;
        let other = Authority::new("Other CA")?;
        other.fill(&both.path("stranger"), "client", ExtendedKeyUsagePurpose::ClientAuth)?;
        fs::create_dir(both.path("nobody"))?;
        fs::copy(both.path("cli").join("ca-cert.pem"), both.path("nobody").join("ca-cert.pem"))?;
        Ok(Some(both))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn credentials(&self, name: &str, rest: &str) -> String {
        format!("tls-creds-x509,id=t,dir={},{rest}", self.path(name).display())
    }

    /// A program under the name of a real one, ours or the real one.
    fn tool(&self, ours: bool, name: &str) -> Command {
        let real = match name {
            "qemu-img" => self.oracle.qemu_img(),
            "qemu-io" => self.oracle.qemu_io(),
            _ => &self.server,
        };
        let mut command = Command::new(if ours { Path::new(OURS) } else { real });
        command.arg0(name).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn servers(&self) -> [(&Path, bool); 2] {
        [(Path::new(OURS), false), (&self.server, true)]
    }
}

/// What a command says, without what takes another time in each run.
fn said(command: &mut Command) -> TestResult<String> {
    let output = command.output()?;
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" ops; ")).collect();
    Ok(format!("{}\n[{:?}]\n", lines.join("\n"), output.status.code()))
}

fn works(command: &mut Command) -> TestResult {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {output:?}").into()) }
}

#[test]
fn each_side_writes_and_reads_through_the_other() -> TestResult {
    let Some(both) = Both::find("each_side_writes_and_reads_through_the_other")? else {
        return Ok(());
    };
    let mut numbers = Rng::new(99);
    let mut bytes = vec![0; 8 << 20];
    bytes[1 << 20..5 << 20].chunks_mut(8).for_each(|chunk| {
        chunk.copy_from_slice(&numbers.next_u64().to_be_bytes()[..chunk.len()]);
    });
    fs::write(both.path("raw"), &bytes)?;
    let export = format!(
        "driver=nbd,server.type=unix,server.path={},tls-creds=t,tls-hostname=localhost",
        both.path("s").display()
    );
    let credentials = both.credentials("cli", "endpoint=client");
    for (server, ours) in both.servers() {
        for priority in ["NORMAL", "NORMAL:-VERS-TLS1.3"] {
            works(both.tool(false, "qemu-img").args(["create", "-q", "-f", "qcow2", "i", "8M"]))?;
            let own = both.credentials("srv", &format!("endpoint=server,priority={priority}"));
            let words = ["--object", &own, "--tls-creds", "t", "-f", "qcow2", "i"];
            let running = Server::start(server, both.dir.path(), &words)?;
            let mut copy = both.tool(ours, "qemu-img");
            copy.args(["convert", "-n", "--object", &credentials, "-f", "raw"]);
            copy.args(["--target-image-opts", "raw", &export]);
            works(&mut copy)?;
            let mut back = both.tool(ours, "qemu-img");
            back.args(["convert", "--object", &credentials, "--image-opts", &export]);
            works(back.args(["-O", "raw", "back"]))?;
            assert!(fs::read(both.path("back"))? == bytes, "{priority}");
            let mut io = both.tool(ours, "qemu-io");
            io.args(["--object", &credentials, "--image-opts", &export]);
            io.args(["-c", "write -P 9 4k 2M", "-c", "read -P 9 4k 2M", "-c", "flush"]);
            assert!(said(&mut io)?.ends_with("[Some(0)]\n"));
            drop(running);
            works(both.tool(!ours, "qemu-img").args(["check", "-q", "i"]))?;
        }
    }
    Ok(())
}

#[test]
fn shared_keys_open_the_doors_of_both() -> TestResult {
    let Some(both) = Both::find("shared_keys_open_the_doors_of_both")? else { return Ok(()) };
    let (key, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(2));
    for (name, text) in [
        ("ksrv", format!("# who may come in\nqemu:{key}\nalice:{other}\n")),
        ("kcli", format!("qemu:{key}\nalice:{other}\nmallory:{other}\n")),
        ("kbad", format!("qemu:{other}\nbad:zz\nshort:00\n")),
    ] {
        fs::create_dir(both.path(name))?;
        fs::write(both.path(name).join("keys.psk"), text)?;
    }
    let keys = |name: &str, rest: &str| {
        format!("tls-creds-psk,id=t,dir={},{rest}", both.path(name).display())
    };
    let export = format!("driver=nbd,path={},tls-creds=t", both.path("s").display());
    let own = keys("ksrv", "endpoint=server");
    for server in [Path::new(OURS), &both.server] {
        works(both.tool(false, "qemu-img").args(["create", "-q", "-f", "qcow2", "i", "8M"]))?;
        let words = ["--object", &own, "--tls-creds", "t", "-f", "qcow2", "i"];
        let running = Server::start(server, both.dir.path(), &words)?;
        for (nth, ours) in [true, false].into_iter().enumerate() {
            for (name, begin) in [("", 0), (",username=alice", 1)] {
                let credentials = keys("kcli", &format!("endpoint=client{name}"));
                let mut io = both.tool(ours, "qemu-io");
                io.args(["--object", &credentials, "--image-opts", &export]);
                let at = (2 * nth + begin) << 20;
                for what in ["write", "read"] {
                    io.args(["-c", &format!("{what} -P {} {at} 1M", at >> 18 | 1)]);
                }
                let text = said(io.args(["-c", "flush"]))?;
                assert!(text.ends_with("[Some(0)]\n") && !text.contains("failed"), "{text}");
            }
        }
        let mut told = Vec::new();
        for ours in [true, false] {
            for (dir, name) in [
                ("kbad", ""),
                ("kcli", ",username=mallory"),
                ("kcli", ",username=nobody"),
                ("kcli", ",username="),
                ("kbad", ",username=bad"),
                ("kbad", ",username=short"),
                ("nobody", ""),
            ] {
                let credentials = keys(dir, &format!("endpoint=client{name}"));
                let mut info = both.tool(ours, "qemu-img");
                info.args(["info", "--object", &credentials, "--image-opts", &export]);
                let text = said(&mut info)?;
                assert!(text.ends_with("[Some(1)]\n"), "{credentials}: {text}");
                told.push(text);
            }
            let mut list = both.tool(ours, "qemu-nbd");
            list.args(["-L", "-k"]).arg(both.path("s")).args(["--tls-creds", "t", "--object"]);
            told.push(said(list.arg(keys("kcli", "endpoint=client")))?);
        }
        let (one, two) = told.split_at(told.len() / 2);
        assert_eq!(one, two, "{}", server.display());
        drop(running);
        for ours in [true, false] {
            works(both.tool(ours, "qemu-img").args(["check", "-q", "i"]))?;
        }
    }
    Ok(())
}

#[test]
fn both_refuse_servers_in_the_same_words() -> TestResult {
    let Some(both) = Both::find("both_refuse_servers_in_the_same_words")? else { return Ok(()) };
    works(both.tool(false, "qemu-img").args(["create", "-q", "-f", "raw", "r", "1M"]))?;
    let own = both.credentials("srv", "endpoint=server");
    let secure = ["--object", own.as_str(), "--tls-creds", "t", "-f", "raw", "r"];
    let path = format!("path={}", both.path("s").display());
    let client = |name: &str| both.credentials(name, "endpoint=client");
    let trusting = both.credentials("stranger", "endpoint=client,verify-peer=off");
    let (good, stranger) = (client("cli"), client("stranger"));
    for (server, is_secure) in
        [(&both.server, true), (&PathBuf::from(OURS), true), (&both.server, false)]
    {
        let words = if is_secure { &secure[..] } else { &["-f", "raw", "r"] };
        let running = Server::start(server, both.dir.path(), words)?;
        for (object, options) in [
            (None, ""),
            (None, ",tls-hostname=x"),
            (None, ",tls-creds=t"),
            (Some("secret,id=t,data=x"), ",tls-creds=t"),
            (Some(own.as_str()), ",tls-creds=t,tls-hostname=localhost"),
            (Some(good.as_str()), ",tls-creds=t"),
            (Some(good.as_str()), ",tls-creds=t,tls-hostname=localhost"),
            (Some(good.as_str()), ",tls-creds=t,tls-hostname=127.0.0.1"),
            (Some(good.as_str()), ",tls-creds=t,tls-hostname=other"),
            (Some(good.as_str()), ",tls-creds=t,tls-hostname="),
            (Some(stranger.as_str()), ",tls-creds=t,tls-hostname=localhost"),
        ] {
            let outcomes: Vec<String> = [true, false]
                .into_iter()
                .map(|ours| {
                    let mut info = both.tool(ours, "qemu-img");
                    info.arg("info");
                    info.args(object.iter().flat_map(|object| ["--object", *object]));
                    info.args(["--image-opts", &format!("driver=nbd,{path}{options}")]);
                    let mut list = both.tool(ours, "qemu-nbd");
                    list.arg("-L").arg("-k").arg(both.path("s"));
                    list.args(object.iter().flat_map(|object| ["--object", *object]));
                    for pair in options.split(',').filter_map(|pair| pair.split_once('=')) {
                        list.arg(format!("--{}={}", pair.0, pair.1));
                    }
                    Ok(said(&mut info)? + &said(&mut list)?)
                })
                .collect::<TestResult<_>>()?;
            assert_eq!(outcomes[0], outcomes[1], "{object:?} {options}");
        }
        // A client that nobody knows, and one without a certificate.
        for object in [&trusting, &client("nobody")] {
            for ours in [true, false] {
                let mut info = both.tool(ours, "qemu-img");
                info.args(["info", "--object", object, "--image-opts"]);
                info.arg(format!("driver=nbd,{path},tls-creds=t,tls-hostname=localhost"));
                assert!(said(&mut info)?.ends_with("[Some(1)]\n"), "{object}");
            }
        }
        drop(running);
    }
    Ok(())
}

#[test]
fn names_of_clients_are_the_same_for_both() -> TestResult {
    let Some(both) = Both::find("names_of_clients_are_the_same_for_both")? else { return Ok(()) };
    works(both.tool(false, "qemu-img").args(["create", "-q", "-f", "raw", "r", "1M"]))?;
    let own = both.credentials("srv", "endpoint=server");
    let path = both.path("s").display().to_string();
    for (rules, comes_in) in [
        (format!("authz-simple,id=a,identity={ODD_NAME}"), false),
        (format!("authz-simple,id=a,identity={NAME}"), true),
        ("authz-simple,id=a,identity=CN=client 1".to_owned(), false),
        ("authz-list,id=a".to_owned(), false),
        ("authz-list,id=a,policy=allow".to_owned(), true),
        (format!("authz-list,id=a,policy=allow,rules.0.match={NAME},rules.0.policy=deny"), false),
        (
            "authz-list,id=a,rules.0.match=C=XY*1,rules.0.format=glob,rules.0.policy=allow"
                .to_owned(),
            true,
        ),
    ] {
        for (server, ours) in both.servers() {
            let words = [
                "--object",
                &own,
                "--object",
                &rules,
                "--tls-creds",
                "t",
                "--tls-authz",
                "a",
                "-f",
                "raw",
                "r",
            ];
            let running = Server::start(server, both.dir.path(), &words)?;
            let list = |name: &str| {
                let credentials = both.credentials(name, "endpoint=client");
                let mut list = both.tool(ours, "qemu-nbd");
                list.args(["-L", "-k", &path, "--object", &credentials, "--tls-creds=t"]);
                said(list.arg("--tls-hostname=localhost"))
            };
            let outcome = list("cli")?;
            assert_eq!(outcome.ends_with("[Some(0)]\n"), comes_in, "{rules}: {outcome}");
            if rules.contains(ODD_NAME) {
                let outcome = list("odd")?;
                assert!(outcome.ends_with("[Some(0)]\n"), "{outcome}");
            }
            drop(running);
        }
    }
    Ok(())
}

#[test]
fn a_host_is_its_own_name_over_a_network() -> TestResult {
    let Some(both) = Both::find("a_host_is_its_own_name_over_a_network")? else { return Ok(()) };
    works(both.tool(false, "qemu-img").args(["create", "-q", "-f", "raw", "r", "1M"]))?;
    let own = both.credentials("srv", "endpoint=server");
    let credentials = both.credentials("cli", "endpoint=client");
    for (server, ours) in both.servers() {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let mut command = Command::new(server);
        command.arg0("qemu-nbd").current_dir(both.dir.path()).stdin(Stdio::null());
        command.args(["-t", "-e", "9", "-b", "127.0.0.1", "-p", &port, "--object", &own]);
        let server = Server(command.args(["--tls-creds", "t", "-f", "raw", "r"]).spawn()?);
        let begin = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody listens");
            std::thread::sleep(Duration::from_millis(10));
        }
        for (host, rest, status) in [
            ("127.0.0.1", "", 0),
            ("localhost", "", 0),
            ("127.0.0.1", ",tls-hostname=localhost", 0),
            ("127.0.0.1", ",tls-hostname=other", 1),
        ] {
            let mut info = both.tool(ours, "qemu-img");
            info.args(["info", "--object", &credentials, "--image-opts"]);
            info.arg(format!("driver=nbd,host={host},port={port},tls-creds=t{rest}"));
            let outcome = said(&mut info)?;
            assert!(outcome.ends_with(&format!("[Some({status})]\n")), "{host}{rest}: {outcome}");
        }
        drop(server);
    }
    Ok(())
}

#[test]
fn libnbd_speaks_tls_with_the_server() -> TestResult {
    let test = "libnbd_speaks_tls_with_the_server";
    if !Command::new("nbdinfo").arg("--version").output().is_ok_and(|out| out.status.success()) {
        skipped(&format!("{test}: there is no nbdinfo"));
        return Ok(());
    }
    let Some(both) = Both::find(test)? else { return Ok(()) };
    works(both.tool(true, "qemu-img").args(["create", "-q", "-f", "qcow2", "i", "8M"]))?;
    let own = both.credentials("srv", "endpoint=server");
    let words = ["--object", &own, "--tls-creds", "t", "-f", "qcow2", "i"];
    let running = Server::start(Path::new(OURS), both.dir.path(), &words)?;
    for (certificates, succeeds) in [("cli", true), ("nobody", false), ("stranger", false)] {
        let uri = format!(
            "nbds+unix://localhost/?socket={}&tls-certificates={}",
            both.path("s").display(),
            both.path(certificates).display()
        );
        let output = Command::new("nbdinfo").args(["--json", &uri]).output()?;
        assert_eq!(output.status.success(), succeeds, "{certificates}: {output:?}");
        if succeeds {
            let text = String::from_utf8(output.stdout)?;
            assert!(text.contains("\"TLS\": true"), "{text}");
            assert!(text.contains("\"export-size\": 8388608"), "{text}");
        }
    }
    drop(running);
    Ok(())
}

#[test]
fn a_name_that_nobody_verified_decides_nothing() -> TestResult {
    let dir = TempDir::new("tls-authz-unverified")?;
    let authority = Authority::new("Test CA")?;
    authority.fill(dir.path(), "server", ExtendedKeyUsagePurpose::ServerAuth)?;
    let own = |rest: &str| format!("tls-creds-x509,id=t,dir={},{rest}", dir.path().display());
    let run = |own: &str, rules: &str| -> TestResult<String> {
        let mut command = Command::new(OURS);
        command.arg0("qemu-nbd").args(["--object", own, "--tls-creds", "t"]);
        said(command.args(["--object", rules, "--tls-authz", "a", "nofile"]))
    };
    let unverified = own("endpoint=server,verify-peer=off");
    let text = run(&unverified, "authz-simple,id=a,identity=x")?;
    let reason = "--tls-authz needs TLS credentials by certificates with verify-peer=on";
    assert_eq!(text, format!("qemu-nbd: {reason}\n[Some(1)]\n"));
    // Who has a shared key has no name.
    fs::write(dir.path().join("keys.psk"), "")?;
    let keyed = format!("tls-creds-psk,id=t,dir={},endpoint=server", dir.path().display());
    let text = run(&keyed, "authz-simple,id=a,identity=x")?;
    assert_eq!(text, format!("qemu-nbd: {reason}\n[Some(1)]\n"));
    // Rules that are not there are missed before anybody comes.
    let verified = own("endpoint=server");
    let text = run(&verified, "secret,id=b,data=x")?;
    assert_eq!(text, "qemu-nbd: Cannot find QAuthZ object ID a\n[Some(1)]\n");
    let text = run(&verified, "secret,id=a,data=x")?;
    assert_eq!(text, "qemu-nbd: Object 'a' is not a QAuthZ subclass\n[Some(1)]\n");
    Ok(())
}

#[test]
fn credentials_that_cannot_be_had_are_refused_by_name() -> TestResult {
    let dir = TempDir::new("tls-refused")?;
    let authority = Authority::new("Test CA")?;
    authority.fill(dir.path(), "client", ExtendedKeyUsagePurpose::ClientAuth)?;
    let place = dir.path().display();
    let x509 = |rest: &str| format!("tls-creds-x509,id=t,dir={place},{rest}");
    for (object, reason) in [
        ("tls-creds-anon,id=t".to_owned(), "object type 'tls-creds-anon' is not available"),
        (x509("priority=NORMAL:+ANON-DH"), "priority 'NORMAL:+ANON-DH' is not available"),
    ] {
        let mut command = Command::new(OURS);
        command.arg0("qemu-img");
        let text = said(command.args(["info", "--object", &object, "nofile"]))?;
        assert_eq!(text, format!("qemu-img: {reason} in this version\n[Some(1)]\n"));
    }
    Ok(())
}

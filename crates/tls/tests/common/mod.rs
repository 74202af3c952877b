//! Certificates, a disk, and a server with both.

#![allow(dead_code, reason = "each test uses a part")]

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use holstein_nbd::{
    AcceptOptions, Address, Client, ClientError, ConnectOptions, Context, Export, ExportSettings,
    Extent, Listener, Security, Server, Target, Waker, Zeroes, accept,
};
use holstein_testkit::TempDir;
use holstein_tls::{ClientCredentials, CredentialOptions, ServerCredentials, TlsClient, TlsServer};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

pub(crate) type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// An authority and its key.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

/// What an authority says of itself.
pub(crate) fn authority_params(name: &str) -> TestResult<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What a peer says of itself: good for both sides.
pub(crate) fn peer_params(name: &str) -> TestResult<CertificateParams> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let country = DnValue::PrintableString("XY".try_into()?);
    params.distinguished_name.push(DnType::CountryName, country);
    params.distinguished_name.push(DnType::OrganizationName, "Org, Inc");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

impl Authority {
    pub(crate) fn new(name: &str) -> TestResult<Self> {
        Self::of(authority_params(name)?)
    }

    pub(crate) fn of(params: CertificateParams) -> TestResult<Self> {
        let key = KeyPair::generate()?;
        Ok(Self { certificate: params.self_signed(&key)?, key })
    }

    /// A directory for both sides: this authority, and a certificate that it signed.
    pub(crate) fn fill(&self, dir: &Path, params: CertificateParams) -> TestResult {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.certificate, &self.key)?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca-cert.pem"), self.certificate.pem())?;
        for side in ["server", "client"] {
            // Words around what is meant are common.
            let text = format!("Of the {side}\n{}", certificate.pem());
            fs::write(dir.join(format!("{side}-cert.pem")), text)?;
            fs::write(dir.join(format!("{side}-key.pem")), key.serialize_pem())?;
        }
        Ok(())
    }
}

/// Directories of peers that trust one another.
pub(crate) struct Peers {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
}

impl Peers {
    pub(crate) fn new(test: &str) -> TestResult<Self> {
        let (dir, authority) = (TempDir::new(test)?, Authority::new("Test CA")?);
        let peers = Self { dir, authority };
        peers.authority.fill(&peers.path("server"), peer_params("server")?)?;
        peers.authority.fill(&peers.path("client"), peer_params("client 1")?)?;
        Ok(peers)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn options(&self, name: &str) -> CredentialOptions {
        CredentialOptions::new(self.path(name))
    }

    pub(crate) fn server(&self) -> TestResult<TlsServer> {
        Ok(TlsServer::new(ServerCredentials::load(&self.options("server"))?))
    }

    pub(crate) fn client(&self) -> TestResult<TlsClient> {
        client(&self.options("client"), "localhost")
    }
}

pub(crate) fn client(options: &CredentialOptions, host: &str) -> TestResult<TlsClient> {
    Ok(TlsClient::new(ClientCredentials::load(options)?, Some(host.to_owned())))
}

/// Bytes in memory.
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl Export for Memory {
    fn size(&self) -> u64 {
        self.0.lock().expect("nobody panics with it").len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().expect("nobody panics with it");
        into.copy_from_slice(&bytes[at as usize..][..into.len()]);
        Ok(())
    }

    fn write_at(&self, at: u64, from: &[u8], _: bool) -> io::Result<()> {
        let mut bytes = self.0.lock().expect("nobody panics with it");
        bytes[at as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn write_zeroes(&self, at: u64, len: u64, _: Zeroes) -> io::Result<()> {
        self.0.lock().expect("nobody panics with it")[at as usize..][..len as usize].fill(0);
        Ok(())
    }

    fn trim(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn extent_at(&self, _: &Context, _: u64, len: u64) -> io::Result<Extent> {
        Ok(Extent { len, flags: 0 })
    }
}

/// A server of 40 MiB on a path.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// How sessions ended that ended badly.
    pub(crate) ended: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

/// Bytes of the disk.
pub(crate) const SIZE: usize = 40 << 20;

impl Running {
    pub(crate) fn start(tls: TlsServer) -> TestResult<Self> {
        Self::with(|server| server.security(Some(Arc::new(tls))))
    }

    pub(crate) fn with(change: impl FnOnce(Server) -> Server) -> TestResult<Self> {
        let dir = TempDir::new("tls-server")?;
        let path = dir.path().join("s");
        let listener = Listener::unix(&path)?;
        let waker = Arc::new(Waker::new()?);
        let disk = Arc::new(Memory(Mutex::new(vec![0; SIZE])));
        let server = change(Server::new().export(disk, ExportSettings::default()));
        let (other, ended) = (Arc::clone(&waker), Arc::<Mutex<Vec<String>>>::default());
        let told = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let options = AcceptOptions { clients: None, persistent: true };
            let report = |error: &holstein_nbd::SessionError| {
                told.lock().expect("nobody panics with it").push(error.to_string());
            };
            accept(&server, &listener, options, &other, &report)
        });
        Ok(Self { path, waker, thread: Some(thread), ended, _dir: dir })
    }

    pub(crate) fn target(&self) -> Target {
        Target { address: Address::Unix(self.path.clone()), export: String::new() }
    }

    pub(crate) fn connect(&self, tls: TlsClient) -> Result<Client, ClientError> {
        connect(&self.target(), tls)
    }

    /// What the server said of the sessions so far, once there is anything.
    pub(crate) fn last_end(&self) -> String {
        for _ in 0..1000 {
            if let Some(last) = self.ended.lock().expect("nobody panics with it").pop() {
                return last;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        "no session ended badly".to_owned()
    }
}

pub(crate) fn connect(target: &Target, tls: TlsClient) -> Result<Client, ClientError> {
    let security: Arc<dyn Security> = Arc::new(tls);
    let options = ConnectOptions { security: Some(security), ..ConnectOptions::default() };
    Client::connect_with(target, &options)
}

/// What a client is told that should not be let in.
pub(crate) fn refused(outcome: Result<Client, ClientError>) -> String {
    match outcome {
        Ok(_) => "it was let in".to_owned(),
        Err(error) => error.to_string(),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.waker.end();
        if let Some(thread) = self.thread.take() {
            assert!(matches!(thread.join(), Ok(Ok(()))), "the server fails");
        }
    }
}

//! Fuzz body: a whole session of a client of the NBD server.

use std::io::{self, Read, Write};
use std::sync::Arc;

use holstein_nbd::{
    Context, ContextQuery, Export, ExportSettings, Extent, Framing, InfoQuery, Negotiated, Request,
    Server, Zeroes, negotiate, transmit,
};

/// Bytes of the disk.
const SIZE: u64 = 1 << 20;

/// A disk that forgets, and sees to it that it is asked for nothing outside of itself.
struct Forgetful;

fn inside(at: u64, len: u64) {
    assert!(len > 0 && at.checked_add(len).is_some_and(|end| end <= SIZE), "{len} bytes at {at}");
}

impl Export for Forgetful {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        inside(at, into.len() as u64);
        Ok(())
    }

    fn write_at(&self, at: u64, from: &[u8], _: bool) -> io::Result<()> {
        inside(at, from.len() as u64);
        Ok(())
    }

    fn write_zeroes(&self, at: u64, len: u64, _: Zeroes) -> io::Result<()> {
        inside(at, len);
        Ok(())
    }

    fn trim(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
        inside(at, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn extent_at(&self, _: &Context, at: u64, len: u64) -> io::Result<Extent> {
        inside(at, len);
        let rest = 65_536 - at % 65_536;
        Ok(Extent { len: rest.min(len), flags: u32::from(at & 65_536 != 0) * 3 })
    }
}

/// A client that says what it has to say and hears nothing.
struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes are what a client says, and, by themselves, the data of an option and a request.
pub(crate) fn run(data: &[u8]) {
    let _ = (InfoQuery::parse(data), ContextQuery::parse(data));
    for framing in [Framing::Structured, Framing::Extended] {
        let header = data.get(..framing.request_len()).unwrap_or(data);
        if let Some(request) = Request::decode(header, framing) {
            let mut again = Vec::new();
            request.encode(framing, &mut again);
            assert_eq!(again, header);
        }
    }
    let contexts = vec![Context::AllocationDepth, Context::DirtyBitmap("b".to_owned())];
    let settings = ExportSettings { contexts, ..ExportSettings::default() };
    let server = Server::new().export(Arc::new(Forgetful), settings);
    let mut client = Client(data);
    let error = match negotiate(&server, &mut client) {
        // Without security there is no `Secure`.
        Ok(Negotiated::Left | Negotiated::Secure(_)) => return,
        Ok(Negotiated::Go(handshake)) => {
            transmit(&server, &handshake, client.0, io::sink(), &|| {}).err()
        }
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        assert!(!error.to_string().is_empty());
    }
}

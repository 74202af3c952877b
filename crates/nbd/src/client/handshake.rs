//! The client's half of the handshake.

use std::io::{self, Read, Write};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{ClientError, ExportFacts};
use crate::numbers::{
    HELLO_MAGIC, MAX_PAYLOAD, OPTION_MAGIC, OPTION_REPLY_MAGIC, handshake, info, option,
    option_reply,
};
use crate::request::Framing;
use crate::wire::{ExportReply, Hello, InfoBlockSize, InfoExport, OptionHeader, OptionReply};

/// Bytes of one reply to an option, at most: two long strings and what belongs to them.
const MAX_REPLY: u32 = 16 << 10;
/// Replies to one option, at most.
const MAX_REPLIES: usize = 1 << 16;
/// Zeros behind the reply to the old option.
const PADDING: usize = 124;

/// The context that a client asks for unless it wants another one.
const ALLOCATION: &str = "base:allocation";

/// A handshake under way.
pub(super) struct Talk<S> {
    stream: S,
    padded: bool,
    pub(super) framing: Framing,
}

/// Hears the server's first words and answers them; whether it pads old replies.
pub(super) fn begin<S: Read + Write>(mut stream: S) -> Result<bool, ClientError> {
    let mut hello = Hello::new_zeroed();
    stream.read_exact(hello.as_mut_bytes())?;
    if hello.magic.get() != HELLO_MAGIC {
        return Err(ClientError::Protocol("bad initial magic received"));
    }
    if hello.option_magic.get() != OPTION_MAGIC {
        return Err(ClientError::Protocol("bad option magic received"));
    }
    let offered = hello.flags.get();
    if offered & handshake::FIXED_NEWSTYLE == 0 {
        return Err(ClientError::Protocol("the server has no fixed newstyle handshake"));
    }
    let flags = offered & (handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES);
    stream.write_all(&u32::from(flags).to_be_bytes())?;
    Ok(flags & handshake::NO_ZEROES == 0)
}

impl<S: Read + Write> Talk<S> {
    /// Options come next.
    pub(super) fn new(stream: S, padded: bool) -> Self {
        Self { stream, padded, framing: Framing::Simple }
    }

    /// Asks the server to make the connection secure; that has to be done next.
    pub(super) fn start_tls(&mut self) -> Result<(), ClientError> {
        match &self.ask(option::STARTTLS, &[])?[..] {
            [] => Ok(()),
            _ => Err(ClientError::Protocol("an unexpected reply to an option")),
        }
    }

    /// Asks for the best framing that the server has.
    pub(super) fn choose_framing(&mut self) -> Result<(), ClientError> {
        for (number, framing) in [
            (option::EXTENDED_HEADERS, Framing::Extended),
            (option::STRUCTURED_REPLY, Framing::Structured),
        ] {
            match self.ask(number, &[]) {
                Ok(_) => {
                    self.framing = framing;
                    return Ok(());
                }
                Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Chooses an export and one of its contexts; nothing but requests follows.
    pub(super) fn go(
        &mut self,
        name: &str,
        context: Option<&str>,
    ) -> Result<ExportFacts, ClientError> {
        let context = self.choose_context(name, context.unwrap_or(ALLOCATION))?;
        let mut facts = match self.describe(option::GO, name) {
            Ok(facts) => facts,
            Err(ClientError::Refused { kind, .. }) if kind == option_reply::ERR_UNSUP => {
                self.old_go(name)?
            }
            Err(error) => return Err(error),
        };
        facts.context = context;
        facts.framing = self.framing;
        Ok(facts)
    }

    /// What the server says about an export.
    pub(super) fn describe(&mut self, number: u32, name: &str) -> Result<ExportFacts, ClientError> {
        let mut data = string(name)?;
        let wanted: &[u16] = match number {
            option::GO => &[info::BLOCK_SIZE],
            _ => &[info::NAME, info::DESCRIPTION, info::BLOCK_SIZE],
        };
        data.extend(u16::try_from(wanted.len()).unwrap_or_default().to_be_bytes());
        wanted.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
        let mut facts = ExportFacts::default();
        let mut sized = false;
        for (kind, reply) in self.ask(number, &data)? {
            let property = reply.first_chunk::<2>().map(|kind| u16::from_be_bytes(*kind));
            match property {
                _ if kind != option_reply::INFO => {
                    return Err(ClientError::Protocol("an unexpected reply to an option"));
                }
                Some(info::EXPORT) => {
                    let info = InfoExport::read_from_bytes(&reply)
                        .map_err(|_| ClientError::Protocol("a short description of an export"))?;
                    (facts.size, facts.flags) = (info.size.get(), info.flags.get());
                    sized = true;
                }
                Some(info::BLOCK_SIZE) => {
                    let info = InfoBlockSize::read_from_bytes(&reply)
                        .map_err(|_| ClientError::Protocol("a short description of an export"))?;
                    facts.minimum = info.minimum.get();
                    facts.preferred = info.preferred.get();
                    facts.maximum = info.maximum.get();
                    facts.check_blocks()?;
                }
                Some(info::DESCRIPTION) => {
                    facts.description = Some(String::from_utf8_lossy(&reply[2..]).into_owned());
                }
                // What was not asked for is skipped.
                Some(_) => {}
                None => return Err(ClientError::Protocol("a property without its kind")),
            }
        }
        if !sized {
            return Err(ClientError::Protocol("no size of the export"));
        }
        Ok(facts)
    }

    /// The names and descriptions of all exports.
    pub(super) fn list(&mut self) -> Result<Vec<(String, String)>, ClientError> {
        let mut exports = Vec::new();
        for (kind, reply) in self.ask(option::LIST, &[])? {
            let bad = ClientError::Protocol("an export without a name");
            let Some((len, rest)) = reply.split_first_chunk::<4>() else { return Err(bad) };
            let len = u32::from_be_bytes(*len) as usize;
            if kind != option_reply::SERVER || len > rest.len() {
                return Err(bad);
            }
            let (name, description) = rest.split_at(len);
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            exports.push((text(name), text(description)));
        }
        Ok(exports)
    }

    /// The names of all metadata contexts of an export.
    pub(super) fn contexts(&mut self, name: &str) -> Result<Vec<String>, ClientError> {
        let mut data = string(name)?;
        data.extend(0_u32.to_be_bytes());
        let replies = self.ask(option::LIST_META_CONTEXT, &data)?;
        let names = replies.iter().filter_map(|(_, reply)| reply.get(4..));
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Ends the session before it began.
    pub(super) fn abort(&mut self) {
        // The server may end first.
        let _ = self.send(option::ABORT, &[]);
    }

    /// Takes leave of a server that refused what the session was for.
    pub(super) fn leave_if_refused<T>(
        &mut self,
        outcome: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if matches!(outcome, Err(ClientError::Refused { .. })) {
            self.abort();
        }
        outcome
    }

    /// Chooses a context; returns its number, if the server has it.
    fn choose_context(&mut self, name: &str, context: &str) -> Result<Option<u32>, ClientError> {
        if self.framing == Framing::Simple {
            return Ok(None);
        }
        let mut data = string(name)?;
        data.extend(1_u32.to_be_bytes());
        data.extend(string(context)?);
        let replies = match self.ask(option::SET_META_CONTEXT, &data) {
            Ok(replies) => replies,
            // The export that is not there is reported when it is chosen.
            Err(ClientError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for (kind, reply) in replies {
            if kind == option_reply::META_CONTEXT
                && let Some((id, name)) = reply.split_first_chunk::<4>()
                && name == context.as_bytes()
            {
                return Ok(Some(u32::from_be_bytes(*id)));
            }
        }
        Ok(None)
    }

    /// Chooses an export in the way of old servers.
    fn old_go(&mut self, name: &str) -> Result<ExportFacts, ClientError> {
        self.send(option::EXPORT_NAME, name.as_bytes())?;
        let mut reply = ExportReply::new_zeroed();
        self.stream.read_exact(reply.as_mut_bytes()).map_err(ClientError::Reply)?;
        if self.padded {
            self.stream.read_exact(&mut [0; PADDING]).map_err(ClientError::Reply)?;
        }
        let (size, flags) = (reply.size.get(), reply.flags.get());
        Ok(ExportFacts { size, flags, ..ExportFacts::default() })
    }

    fn send(&mut self, number: u32, data: &[u8]) -> Result<(), ClientError> {
        let len = u32::try_from(data.len()).map_err(|_| ClientError::Protocol("a long option"))?;
        let header =
            OptionHeader { magic: OPTION_MAGIC.into(), option: number.into(), len: len.into() };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Why nothing can be sent: a server that ended may have said it.
    fn told_why(&mut self, error: ClientError) -> ClientError {
        match error {
            ClientError::Io(ended) if ended.kind() == io::ErrorKind::BrokenPipe => {
                let said = self.stream.read_exact(&mut [0]);
                ClientError::Reply(said.err().unwrap_or(ended))
            }
            error => error,
        }
    }

    /// Sends an option and returns all replies before the last.
    fn ask(&mut self, number: u32, data: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, ClientError> {
        if let Err(error) = self.send(number, data) {
            return Err(self.told_why(error));
        }
        let mut replies = Vec::new();
        for _ in 0..MAX_REPLIES {
            let mut header = OptionReply::new_zeroed();
            self.stream.read_exact(header.as_mut_bytes()).map_err(ClientError::Reply)?;
            if header.magic.get() != OPTION_REPLY_MAGIC || header.option.get() != number {
                return Err(ClientError::Protocol("an unexpected reply to an option"));
            }
            let (kind, len) = (header.kind.get(), header.len.get());
            if len > MAX_REPLY {
                return Err(ClientError::Protocol("a long reply to an option"));
            }
            let mut reply = vec![0; len as usize];
            self.stream.read_exact(&mut reply).map_err(ClientError::Reply)?;
            match kind {
                option_reply::ACK if reply.is_empty() => return Ok(replies),
                option_reply::ACK => {
                    return Err(ClientError::Protocol("an acknowledgement that says something"));
                }
                _ if kind & option_reply::ERROR != 0 => return Err(refused(number, kind, &reply)),
                _ => replies.push((kind, reply)),
            }
        }
        Err(ClientError::Protocol("too many replies to an option"))
    }
}

fn refused(option: u32, kind: u32, text: &[u8]) -> ClientError {
    ClientError::Refused { option, kind, text: String::from_utf8_lossy(text).into_owned() }
}

/// A string behind its length.
fn string(text: &str) -> Result<Vec<u8>, ClientError> {
    let len = u32::try_from(text.len()).ok().filter(|len| *len <= 4096);
    let len = len.ok_or(ClientError::Protocol("a name of more than 4096 bytes"))?;
    let mut data = len.to_be_bytes().to_vec();
    data.extend_from_slice(text.as_bytes());
    Ok(data)
}

impl ExportFacts {
    /// Refuses block sizes that make no sense, and takes the smaller of two maxima.
    fn check_blocks(&mut self) -> Result<(), ClientError> {
        let wrong = !self.minimum.is_power_of_two()
            || self.minimum > 65_536
            || self.maximum < self.minimum
            || self.preferred < self.minimum;
        if wrong {
            return Err(ClientError::Protocol("block sizes that make no sense"));
        }
        self.maximum = self.maximum.min(MAX_PAYLOAD);
        self.maximum -= self.maximum % self.minimum;
        Ok(())
    }
}

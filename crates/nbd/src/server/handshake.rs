//! The handshake: options until the client chooses an export.

use std::io::{self, Read, Write};

use zerocopy::{FromZeros, IntoBytes};

use super::export::Exported;
use super::{Server, SessionError};
use crate::numbers::{
    HELLO_MAGIC, MAX_PAYLOAD, OPTION_MAGIC, OPTION_REPLY_MAGIC, handshake, info, option,
    option_reply,
};
use crate::option_data::{ContextQuery, InfoQuery};
use crate::request::Framing;
use crate::wire::{ExportReply, Hello, InfoBlockSize, InfoExport, OptionHeader, OptionReply};

/// Data of an option that is looked at, in bytes. The largest that makes sense is a list of queries.
const MAX_OPTION: usize = 1 << 16;
/// Zeros behind the reply to an old option.
const PADDING: usize = 124;

/// What client and server settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Which export, by its place.
    pub(crate) export: usize,
    /// How replies look.
    pub(crate) framing: Framing,
    /// Contexts that the client chose, by their places.
    pub(crate) contexts: Vec<usize>,
}

/// What a handshake ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Negotiated {
    /// The client chose an export: requests follow.
    Go(Handshake),
    /// The client asked for what it wanted to know, and left.
    Left,
    /// The connection is to be made secure, and the handshake goes on in that. Only where the server has
    /// [`Server::security`].
    Secure(Opening),
}

/// What stays of a handshake when the connection becomes secure: what the first words were. Options that
/// were settled before do not count any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    fixed: bool,
    padded: bool,
}

impl Opening {
    /// Goes on with the handshake over the secure connection.
    ///
    /// # Errors
    /// As for [`negotiate`].
    pub fn go_on<S: Read + Write>(
        &self,
        server: &Server,
        stream: &mut S,
    ) -> Result<Negotiated, SessionError> {
        Talk::new(server, stream, self, true).run()
    }
}

/// Speaks with a client until it has chosen an export.
///
/// # Errors
/// The client left without a word, or made no sense.
pub fn negotiate<S: Read + Write>(
    server: &Server,
    stream: &mut S,
) -> Result<Negotiated, SessionError> {
    let flags = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    let hello =
        Hello { magic: HELLO_MAGIC.into(), option_magic: OPTION_MAGIC.into(), flags: flags.into() };
    stream.write_all(hello.as_bytes())?;
    let mut client = [0; 4];
    stream.read_exact(&mut client)?;
    let client = u32::from_be_bytes(client);
    if client & !u32::from(flags) != 0 {
        return Err(SessionError::Protocol("unknown handshake flags"));
    }
    let opening = Opening {
        fixed: client & u32::from(handshake::FIXED_NEWSTYLE) != 0,
        padded: client & u32::from(handshake::NO_ZEROES) == 0,
    };
    Talk::new(server, stream, &opening, false).run()
}

/// A handshake under way.
struct Talk<'a, S> {
    server: &'a Server,
    stream: &'a mut S,
    fixed: bool,
    padded: bool,
    secure: bool,
    framing: Framing,
    /// The export and the contexts of it that the client chose.
    chosen: Option<(usize, Vec<usize>)>,
}

impl<'a, S: Read + Write> Talk<'a, S> {
    fn new(server: &'a Server, stream: &'a mut S, opening: &Opening, secure: bool) -> Self {
        let Opening { fixed, padded } = *opening;
        Self { server, stream, fixed, padded, secure, framing: Framing::Simple, chosen: None }
    }

    /// Whether an option has to wait until the connection is secure.
    fn comes_too_early(&self, option: u32) -> bool {
        let waits = !matches!(option, option::STARTTLS | option::ABORT);
        waits && !self.secure && self.server.security.is_some()
    }

    fn run(mut self) -> Result<Negotiated, SessionError> {
        loop {
            let mut header = OptionHeader::new_zeroed();
            self.stream.read_exact(header.as_mut_bytes())?;
            if header.magic.get() != OPTION_MAGIC {
                return Err(SessionError::Protocol("an option without its magic"));
            }
            let (option, len) = (header.option.get(), header.len.get());
            if !self.fixed && option != option::EXPORT_NAME {
                return Err(SessionError::Protocol("an option that the client did not announce"));
            }
            let data = self.option_data(len)?;
            if self.comes_too_early(option) {
                if option == option::EXPORT_NAME {
                    return Err(SessionError::Insecure);
                }
                let text = format!("Option {option:#x} not permitted before TLS");
                self.refuse(option, option_reply::ERR_TLS_REQD, &text)?;
                continue;
            }
            let Some(data) = data else {
                self.refuse(option, option_reply::ERR_TOO_BIG, "option payload is too long")?;
                continue;
            };
            match option {
                option::EXPORT_NAME => return self.export_name(&data),
                option::ABORT => {
                    // A client may be gone already.
                    let _ = self.reply(option, option_reply::ACK, &[]);
                    return Ok(Negotiated::Left);
                }
                option::INFO | option::GO => {
                    if let Some(export) = self.describe(option, &data)? {
                        return Ok(Negotiated::Go(self.settle(export)));
                    }
                }
                option::LIST if data.is_empty() => self.list()?,
                option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                    self.contexts(option, &data)?;
                }
                option::STRUCTURED_REPLY if data.is_empty() => match self.framing {
                    Framing::Extended => {
                        let text = "extended headers already negotiated";
                        self.refuse(option, option_reply::ERR_EXT_HEADER_REQD, text)?;
                    }
                    Framing::Structured => {
                        let text = "structured reply already negotiated";
                        self.refuse(option, option_reply::ERR_INVALID, text)?;
                    }
                    Framing::Simple => self.switch(option, Framing::Structured)?,
                },
                option::EXTENDED_HEADERS if data.is_empty() => match self.framing {
                    Framing::Extended => {
                        let text = "extended headers already negotiated";
                        self.refuse(option, option_reply::ERR_INVALID, text)?;
                    }
                    _ => self.switch(option, Framing::Extended)?,
                },
                option::STARTTLS if data.is_empty() && self.secure => {
                    self.refuse(option, option_reply::ERR_INVALID, "TLS already enabled")?;
                }
                option::STARTTLS if data.is_empty() && self.server.security.is_none() => {
                    self.refuse(option, option_reply::ERR_POLICY, "TLS not configured")?;
                }
                option::STARTTLS if data.is_empty() => {
                    // Nothing behind this option was read: what follows comes through TLS or not at all.
                    self.reply(option, option_reply::ACK, &[])?;
                    let Self { fixed, padded, .. } = self;
                    return Ok(Negotiated::Secure(Opening { fixed, padded }));
                }
                option::LIST
                | option::STRUCTURED_REPLY
                | option::EXTENDED_HEADERS
                | option::STARTTLS => {
                    self.refuse(option, option_reply::ERR_INVALID, "option has a payload")?;
                }
                _ => self.refuse(option, option_reply::ERR_UNSUP, "unsupported option")?,
            }
        }
    }

    /// Reads the data of an option; `None` if there was too much, which is then skipped.
    fn option_data(&mut self, len: u32) -> Result<Option<Vec<u8>>, SessionError> {
        if len > MAX_PAYLOAD {
            return Err(SessionError::Protocol("an option of more than 32 MiB"));
        }
        let mut part = self.stream.take(u64::from(len));
        if len as usize > MAX_OPTION {
            let skipped = io::copy(&mut part, &mut io::sink())?;
            return if skipped == u64::from(len) { Ok(None) } else { Err(SessionError::Cut) };
        }
        let mut data = vec![0; len as usize];
        part.read_exact(&mut data)?;
        Ok(Some(data))
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<(), SessionError> {
        let len = u32::try_from(data.len()).map_err(|_| SessionError::Protocol("a long reply"))?;
        let header = OptionReply {
            magic: OPTION_REPLY_MAGIC.into(),
            option: option.into(),
            kind: kind.into(),
            len: len.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn refuse(&mut self, option: u32, kind: u32, text: &str) -> Result<(), SessionError> {
        self.reply(option, kind, text.as_bytes())
    }

    fn switch(&mut self, option: u32, framing: Framing) -> Result<(), SessionError> {
        self.framing = framing;
        self.reply(option, option_reply::ACK, &[])
    }

    fn list(&mut self) -> Result<(), SessionError> {
        for exported in &self.server.exports {
            let settings = &exported.settings;
            let mut data = sized(settings.name.as_bytes());
            data.extend_from_slice(settings.description.as_deref().unwrap_or("").as_bytes());
            self.reply(option::LIST, option_reply::SERVER, &data)?;
        }
        self.reply(option::LIST, option_reply::ACK, &[])
    }

    /// The export of a name; the client is told if there is none.
    fn find(&mut self, option: u32, name: &[u8]) -> Result<Option<usize>, SessionError> {
        let found = self.server.find(name);
        if found.is_none() {
            let text = format!("export '{}' not present", String::from_utf8_lossy(name));
            self.refuse(option, option_reply::ERR_UNKNOWN, &text)?;
        }
        Ok(found)
    }

    /// Answers [`option::INFO`] and [`option::GO`]; returns the export that was chosen.
    fn describe(&mut self, option: u32, data: &[u8]) -> Result<Option<usize>, SessionError> {
        let query = match InfoQuery::parse(data) {
            Ok(query) => query,
            Err(error) => {
                self.refuse(option, option_reply::ERR_INVALID, &error.to_string())?;
                return Ok(None);
            }
        };
        let Some(place) = self.find(option, query.name)? else { return Ok(None) };
        let Exported { settings, disk, .. } = &self.server.exports[place];
        let mut replies: Vec<Vec<u8>> = Vec::new();
        let text = |kind: u16, text: &str| [&kind.to_be_bytes(), text.as_bytes()].concat();
        if query.wanted.contains(&info::NAME) {
            replies.push(text(info::NAME, &settings.name));
        }
        if let Some(description) = settings.description.as_deref()
            && query.wanted.contains(&info::DESCRIPTION)
        {
            replies.push(text(info::DESCRIPTION, description));
        }
        let sizes = settings.block_sizes;
        let asked = option == option::INFO || query.wanted.contains(&info::BLOCK_SIZE);
        let block_size = InfoBlockSize {
            kind: info::BLOCK_SIZE.into(),
            minimum: if asked { sizes.minimum } else { 1 }.into(),
            preferred: sizes.preferred.into(),
            maximum: sizes.maximum().into(),
        };
        replies.push(block_size.as_bytes().to_vec());
        let flags = self.server.exports[place].flags(self.framing);
        let size = disk.size().into();
        let export = InfoExport { kind: info::EXPORT.into(), size, flags: flags.into() };
        replies.push(export.as_bytes().to_vec());
        for reply in replies {
            self.reply(option, option_reply::INFO, &reply)?;
        }
        self.reply(option, option_reply::ACK, &[])?;
        Ok((option == option::GO).then_some(place))
    }

    /// Answers the option that says nothing but a name.
    fn export_name(mut self, name: &[u8]) -> Result<Negotiated, SessionError> {
        if self.framing == Framing::Extended {
            return Err(SessionError::Protocol("an old option after extended headers"));
        }
        let Some(place) = self.server.find(name) else {
            return Err(SessionError::NoExport(String::from_utf8_lossy(name).into_owned()));
        };
        let exported = &self.server.exports[place];
        let size = exported.disk.size().into();
        let flags = exported.flags(self.framing).into();
        let mut bytes = ExportReply { size, flags }.as_bytes().to_vec();
        if self.padded {
            bytes.resize(bytes.len() + PADDING, 0);
        }
        self.stream.write_all(&bytes)?;
        Ok(Negotiated::Go(self.settle(place)))
    }

    /// Contexts count only for the export that they were chosen for.
    fn settle(&mut self, export: usize) -> Handshake {
        let chosen = self.chosen.take().filter(|(place, _)| *place == export);
        let contexts = chosen.map(|(_, contexts)| contexts).unwrap_or_default();
        Handshake { export, framing: self.framing, contexts }
    }

    fn contexts(&mut self, option: u32, data: &[u8]) -> Result<(), SessionError> {
        let listed = option == option::LIST_META_CONTEXT;
        if !listed {
            self.chosen = None;
        }
        if self.framing == Framing::Simple {
            let text = "request option when structured reply is not negotiated";
            return self.refuse(option, option_reply::ERR_INVALID, text);
        }
        let query = match ContextQuery::parse(data) {
            Ok(query) => query,
            Err(error) => {
                return self.refuse(option, option_reply::ERR_INVALID, &error.to_string());
            }
        };
        let Some(place) = self.find(option, query.name)? else { return Ok(()) };
        let contexts = &self.server.exports[place].contexts;
        let all = listed && query.queries.is_empty();
        let is_meant = |at: &usize| {
            all || query.queries.iter().any(|query| contexts[*at].answers(query, listed))
        };
        let meant: Vec<usize> = (0..contexts.len()).filter(is_meant).collect();
        for at in &meant {
            // The number means something only where contexts are chosen.
            let id = if listed { 0 } else { u32::try_from(*at).unwrap_or(u32::MAX) };
            let name = contexts[*at].name();
            let data = [&id.to_be_bytes(), name.as_bytes()].concat();
            self.reply(option, option_reply::META_CONTEXT, &data)?;
        }
        if !listed {
            self.chosen = Some((place, meant));
        }
        self.reply(option, option_reply::ACK, &[])
    }
}

/// A string behind its length.
fn sized(text: &[u8]) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), text].concat()
}

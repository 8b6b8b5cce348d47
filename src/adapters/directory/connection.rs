//! A connection: one operation after the other, each with a time in which its answer must be there.

use std::{
    fmt::Display,
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use zeroize::Zeroizing;

use super::dial::{self, NoConnection};
use crate::{
    ports::DirectoryError,
    wire::ldap::{Answer, Message, Operation, ResultCode, message_len},
};

/// What comes when an entry is read, in all: that of a CA with several CRLs of a million certificates.
const MAX_ENTRY: usize = 256 * 1024 * 1024;
/// What comes otherwise, in all: how an operation ended, in a few words. Nobody knows yet who says it.
const MAX_RESULT: usize = 64 * 1024;
/// Answers to one operation: an entry and its end, with room for references.
const MAX_ANSWERS: usize = 16;
/// Longest part of a directory's words that is repeated in errors.
const MAX_WORDS: usize = 200;

#[expect(clippy::disallowed_methods, reason = "what a peer takes is measured where it is asked")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// A socket whose reads and writes fail once a time is over.
struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(instant());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(tls) => &mut tls.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }
}

/// A connection to a directory server.
pub(super) struct Connection {
    server: String,
    /// None: it broke while it was made a TLS one.
    stream: Option<Stream>,
    last_id: u32,
    timeout: Duration,
}

/// The messages that answered an operation.
pub(super) struct Answers(Vec<Vec<u8>>);

impl Answers {
    /// The attributes of the entry that was read.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, Vec<&[u8]>)> {
        let entries = self.0.iter().filter_map(|message| match Message::read(message).ok()?.answer {
            Answer::Entry(attributes) => Some(attributes),
            Answer::Reference | Answer::Done { .. } => None,
        });
        entries.flatten().map(|attribute| (attribute.description, attribute.values))
    }
}

impl Connection {
    /// Connects to the first of the host's addresses that answers, within `connect` for the look-up of its name, for all of them and for the
    /// handshake of TLS; each operation has `timeout`.
    pub(super) fn open(
        server: &str,
        (host, port): (&str, u16),
        connect: Duration,
        timeout: Duration,
    ) -> Result<Self, DirectoryError> {
        let deadline = instant() + connect;
        let socket = dial::connect(host, port, deadline).map_err(|error| match error {
            NoConnection::TimeOut => DirectoryError::TimeOut { server: server.to_owned(), limit: connect },
            NoConnection::Failed(error) => {
                DirectoryError::Connect { server: server.to_owned(), reason: error.to_string() }
            }
        })?;
        // Small messages, each waited for.
        let _ = socket.set_nodelay(true);
        let stream = Some(Stream::Plain(Timed { socket, deadline }));
        Ok(Self { server: server.to_owned(), stream, last_id: 0, timeout })
    }

    /// Goes on over TLS, once the server has proved who it is.
    pub(super) fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(), DirectoryError> {
        // What rustls says of a certificate has names from it.
        let failed = |reason: String| DirectoryError::Tls {
            server: self.server.clone(),
            reason: in_one_line(&reason),
        };
        let Some(Stream::Plain(mut timed)) = self.stream.take() else {
            return Err(failed("it is spoken already".to_owned()));
        };
        let mut tls = ClientConnection::new(config, name).map_err(|error| failed(error.to_string()))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut timed).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    failed("it closed the connection: does it speak TLS?".to_owned())
                }
                _ => failed(error.to_string()),
            })?;
        }
        self.stream = Some(Stream::Tls(Box::new(StreamOwned::new(tls, timed))));
        Ok(())
    }

    /// Asks for something that must be done. `what` says in an error what was refused.
    pub(super) fn ask(&mut self, operation: &Operation<'_>, what: &str) -> Result<Answers, DirectoryError> {
        match self.exchange(operation)? {
            (ResultCode::SUCCESS, _, answers) => Ok(answers),
            (code, text, _) => Err(self.refused(what, code, &text)),
        }
    }

    /// [`Connection::ask`] about an entry; none where there is no such entry.
    pub(super) fn ask_or_nothing(
        &mut self,
        operation: &Operation<'_>,
        what: &str,
    ) -> Result<Option<Answers>, DirectoryError> {
        match self.exchange(operation)? {
            (ResultCode::SUCCESS, _, answers) => Ok(Some(answers)),
            (ResultCode::NO_SUCH_OBJECT, ..) => Ok(None),
            (code, text, _) => Err(self.refused(what, code, &text)),
        }
    }

    fn refused(&self, what: &str, code: ResultCode, text: &str) -> DirectoryError {
        let (what, text) = (what.to_owned(), in_one_line(text));
        DirectoryError::Refused { server: self.server.clone(), what, code, text }
    }

    fn broken(&self, reason: &(impl Display + ?Sized)) -> DirectoryError {
        DirectoryError::Broken { server: self.server.clone(), reason: reason.to_string() }
    }

    fn io(&self, error: &io::Error) -> DirectoryError {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                DirectoryError::TimeOut { server: self.server.clone(), limit: self.timeout }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self
                .broken("the server closed it; is the CRL larger than it takes (sockbuf_max_incoming_auth of OpenLDAP)?"),
            _ => self.broken(error),
        }
    }

    /// Sends an operation and reads until its end.
    fn exchange(
        &mut self,
        operation: &Operation<'_>,
    ) -> Result<(ResultCode, String, Answers), DirectoryError> {
        self.last_id += 1;
        let id = self.last_id;
        // The bind has the password in it.
        let request = Zeroizing::new(operation.encode(id));
        let deadline = instant() + self.timeout;
        let Some(stream) = self.stream.as_mut() else { return Err(self.broken("it is closed")) };
        stream.timed().deadline = deadline;
        stream.send(&request).map_err(|error| self.io(&error))?;
        let mut room = if matches!(operation, Operation::Read { .. }) { MAX_ENTRY } else { MAX_RESULT };
        let mut answers = Vec::new();
        while answers.len() < MAX_ANSWERS {
            let bytes = self.message(room)?;
            room = room.saturating_sub(bytes.len());
            let message = Message::read(&bytes).map_err(|error| self.broken(&error))?;
            match message.answer {
                Answer::Done { code, text } if message.id == id => return Ok((code, text, Answers(answers))),
                Answer::Done { code, text } if message.id == 0 => {
                    return Err(self.refused("to go on", code, &text));
                }
                Answer::Entry(_) | Answer::Reference if message.id == id => answers.push(bytes),
                _ => return Err(self.broken("an answer to something that was not asked")),
            }
        }
        Err(self.broken("more answers than one entry can have"))
    }

    /// The next message, of at most `room` bytes. Exactly its bytes are read, so that nothing of what comes in the clear is left when TLS begins.
    fn message(&mut self, room: usize) -> Result<Vec<u8>, DirectoryError> {
        let mut bytes = Vec::new();
        let length = loop {
            if let Some(length) = message_len(&bytes).map_err(|error| self.broken(&error))? {
                break length;
            }
            let at = bytes.len();
            bytes.push(0);
            self.fill(bytes.get_mut(at..).unwrap_or_default())?;
        };
        if length > room {
            return Err(self.broken(&format_args!("an answer of {length} bytes")));
        }
        while bytes.len() < length {
            // Room is made for what comes, not for what is promised.
            let at = bytes.len();
            bytes.resize(length.min(at + 64 * 1024), 0);
            self.fill(bytes.get_mut(at..).unwrap_or_default())?;
        }
        Ok(bytes)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), DirectoryError> {
        while !buffer.is_empty() {
            let Some(stream) = self.stream.as_mut() else { return Err(self.broken("it is closed")) };
            match stream.read(buffer) {
                Ok(0) => return Err(self.io(&io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(&error)),
            }
        }
        Ok(())
    }
}

/// What somebody else said, for a log and a terminal: without line ends, and without what turns the direction of the text.
fn in_one_line(words: &str) -> String {
    let shown = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    words.chars().filter(shown).take(MAX_WORDS).collect()
}

impl Drop for Connection {
    /// Whether the goodbye arrives does not matter.
    fn drop(&mut self) {
        self.last_id += 1;
        if let Some(stream) = self.stream.as_mut() {
            stream.timed().deadline = instant() + Duration::from_secs(1);
            let _ = stream.send(&Operation::Unbind.encode(self.last_id));
        }
    }
}

//! The content of a backup: a sequence of frames, the same from the server to the command line and in the file.
//!
//! A frame is a letter and a fixed number of parts, each four big-endian bytes of length and the part. The first one is the
//! head (JSON, so that every certgate can say what a newer one wrote), the last one is the end, which holds the SHA-256 of all
//! bytes before it: a stream without its end was cut off.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::{
    ports::store::Row,
    types::{Fingerprint, IssuerId, Secret, Timestamp},
};

/// The version of the frames that this certgate writes and reads.
pub const FORMAT: u32 = 1;

/// No part is longer: a CRL with a million entries has about 40 MB.
const MAX_PART: u32 = 256 * 1024 * 1024;

/// A part gets memory for so much at once: more than any file of a data directory has.
const GROWS_FROM: u32 = 1024 * 1024 + 1;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was taken; everything that was acknowledged before is in it.
    pub taken_at: Timestamp,
    /// Version of the certgate that took it.
    pub version: String,
    /// Schema of its rows.
    pub schema: u32,
    /// The issuers: the identity of the gateway.
    pub issuers: Vec<IssuerHead>,
}

/// An issuer in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerHead {
    /// Its name.
    pub id: IssuerId,
    /// SHA-256 of its certificate.
    pub sha256: Fingerprint,
    /// Number of its newest CRL.
    pub crl_number: Option<u64>,
    /// thisUpdate of its newest CRL.
    pub crl_this_update: Option<Timestamp>,
}

/// One part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What it is of. First.
    Head(Head),
    /// A file of the data directory.
    File {
        /// Its name, without a path.
        name: String,
        /// What is in it: it may be a key.
        content: Secret,
    },
    /// A record of the store.
    Row(Row),
    /// Nothing comes after it.
    End,
}

/// Frames that are no backup, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Reading failed.
    #[error("{0}")]
    Io(io::Error),
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// It is no sequence of frames.
    #[error("it is damaged: {0}")]
    Malformed(&'static str),
    /// A newer certgate wrote it.
    #[error(
        "it has format {found}, this certgate knows up to {FORMAT}: use the newer certgate that wrote it"
    )]
    NewerFormat {
        /// Its format.
        found: u32,
    },
}

/// Writes frames.
pub struct FrameWriter<W> {
    out: W,
    digest: Context,
}

impl<W: Write> FrameWriter<W> {
    /// Starts with the head.
    pub fn start(out: W, head: &Head) -> io::Result<Self> {
        let mut writer = Self { out, digest: Context::new(&SHA256) };
        let head = serde_json::to_vec(head).map_err(io::Error::other)?;
        writer.frame(b'H', &[&head])?;
        Ok(writer)
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &Secret) -> io::Result<()> {
        self.frame(b'F', &[name.as_bytes(), content.expose()])
    }

    /// Adds a record.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        self.frame(b'R', &[row.table.as_bytes(), &row.key, &row.value])
    }

    /// Ends it and gives back what was written to.
    pub fn end(mut self) -> io::Result<W> {
        let digest = self.digest.clone().finish();
        self.frame(b'E', &[digest.as_ref()])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        self.put(&[kind])?;
        for part in parts {
            let length = u32::try_from(part.len()).ok().filter(|length| *length <= MAX_PART);
            let length = length.ok_or_else(|| io::Error::other("a record is too long for a backup"))?;
            self.put(&length.to_be_bytes())?;
            self.put(part)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads frames.
pub struct FrameReader<R> {
    source: R,
    digest: Context,
}

impl<R: Read> FrameReader<R> {
    /// Reads the head.
    pub fn start(source: R) -> Result<(Self, Head), FrameError> {
        let mut reader = Self { source, digest: Context::new(&SHA256) };
        match reader.next()? {
            Frame::Head(head) => Ok((reader, head)),
            _ => Err(FrameError::Malformed("it does not begin with a head")),
        }
    }

    /// The next frame. After [`Frame::End`] the source is at its end and every byte was under the digest.
    #[expect(clippy::should_implement_trait, reason = "it fails, and its end is a frame")]
    pub fn next(&mut self) -> Result<Frame, FrameError> {
        let before = self.digest.clone();
        match self.byte()? {
            b'H' => head(&self.part()?),
            b'F' => Ok(Frame::File { name: text(self.part()?)?, content: Secret::new(self.part()?) }),
            b'R' => {
                Ok(Frame::Row(Row { table: text(self.part()?)?, key: self.part()?, value: self.part()? }))
            }
            b'E' => self.end(before),
            _ => Err(FrameError::Malformed("a frame of an unknown kind")),
        }
    }

    /// What is read from.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn end(&mut self, before: Context) -> Result<Frame, FrameError> {
        if self.part()? != before.finish().as_ref() {
            return Err(FrameError::Malformed("its digest does not fit"));
        }
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(Frame::End),
            Ok(_) => Err(FrameError::Malformed("something comes after its end")),
            Err(error) => Err(FrameError::Io(error)),
        }
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn part(&mut self) -> Result<Vec<u8>, FrameError> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_PART {
            return Err(FrameError::Malformed("a part is too long"));
        }
        // Only what really comes is given memory; a file is never moved while it grows, for it may be a key.
        let mut part = Vec::with_capacity(usize::try_from(length.min(GROWS_FROM)).unwrap_or_default());
        self.source.by_ref().take(length.into()).read_to_end(&mut part).map_err(FrameError::Io)?;
        if part.len() as u64 != u64::from(length) {
            return Err(FrameError::CutOff);
        }
        self.digest.update(&part);
        Ok(part)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FrameError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FrameError::CutOff,
            _ => FrameError::Io(error),
        })?;
        self.digest.update(bytes);
        Ok(())
    }
}

/// The format is read before everything else: a newer head may have other fields.
fn head(json: &[u8]) -> Result<Frame, FrameError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let malformed = |_| FrameError::Malformed("its head cannot be read");
    let Format { format } = serde_json::from_slice(json).map_err(malformed)?;
    if format > FORMAT {
        return Err(FrameError::NewerFormat { found: format });
    }
    serde_json::from_slice(json).map(Frame::Head).map_err(malformed)
}

fn text(bytes: Vec<u8>) -> Result<String, FrameError> {
    String::from_utf8(bytes).map_err(|_| FrameError::Malformed("a name is no text"))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn sample() -> (Head, Row, Vec<u8>) {
        let head = Head {
            format: FORMAT,
            taken_at: Timestamp::from_unix(1_800_000_000),
            version: "1.2.3".to_owned(),
            schema: 1,
            issuers: Vec::new(),
        };
        let row = Row { table: "devices".to_owned(), key: b"SN1".to_vec(), value: vec![1, 2, 3] };
        let mut writer = FrameWriter::start(Vec::new(), &head).unwrap();
        writer.file("kek.toml", &Secret::from("version = 1")).unwrap();
        writer.row(&row).unwrap();
        let bytes = writer.end().unwrap();
        (head, row, bytes)
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut reader, head) = FrameReader::start(bytes)?;
        let mut frames = vec![Frame::Head(head)];
        while frames.last() != Some(&Frame::End) {
            frames.push(reader.next()?);
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_back_as_they_were_written() {
        let (head, row, bytes) = sample();
        let content = Secret::from("version = 1");
        let file = Frame::File { name: "kek.toml".to_owned(), content };
        assert_eq!(read_all(&bytes).unwrap(), [Frame::Head(head), file, Frame::Row(row), Frame::End]);
    }

    #[test]
    fn a_stream_that_is_cut_off_is_noticed_at_every_byte() {
        let (_, _, bytes) = sample();
        for length in 0..bytes.len() {
            assert!(matches!(read_all(&bytes[..length]), Err(FrameError::CutOff)), "{length}");
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let (_, _, bytes) = sample();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read_all(&changed).is_err(), "byte {at}");
        }
        assert!(read_all(&[&bytes[..], b"R"].concat()).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_an_error(bytes in vec(any::<u8>(), 0..300), kind in prop::sample::select(b"HFRE".to_vec())) {
            prop_assert!(read_all(&bytes).is_err());
            let (_, _, whole) = sample();
            let head = whole.len() - 37;
            prop_assert!(read_all(&[&whole[..head], &[kind], &bytes].concat()).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_named_whatever_its_head_says() {
        let json = br#"{"format": 2, "moon": "full"}"#;
        let length = u32::try_from(json.len()).unwrap().to_be_bytes();
        let bytes = [b"H", &length[..], json].concat();
        assert!(matches!(read_all(&bytes), Err(FrameError::NewerFormat { found: 2 })));
    }
}

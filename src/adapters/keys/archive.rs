//! Files under a passphrase: written and read as streams, sealed chunk by chunk.
//!
//! ```text
//! header   "certgate backup\n"  version 1  memory in KiB, passes, lanes (4 bytes each)  salt (16)  check value (16)
//! chunk    AES-256-GCM of 64 KiB, the last one shorter or empty, each with its tag
//! ```
//!
//! The key is derived by Argon2id (RFC 9106) from the passphrase and by HKDF from the header, so every file has its own key and no
//! byte of the header can be changed. The nonce of a chunk is its number and whether it is the last (the STREAM construction of
//! Hoang, Reyhanitabar, Rogaway and Vizár): chunks cannot be left out, repeated, reordered or taken from another file, and a file
//! that was cut off does not end with a last chunk. The check value tells a wrong passphrase from a damaged file.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time,
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use zeroize::Zeroizing;

use super::{
    kek::{Argon2Cost, KekError, MIN_PASSPHRASE_LEN},
    secret_file::{self, SecretFileError},
};
use crate::types::Secret;

/// What every archive begins with.
pub const MAGIC: &[u8; 16] = b"certgate backup\n";

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const CHECK_LEN: usize = 16;
/// Everything of the header but the check value.
const DERIVING_LEN: usize = MAGIC.len() + 1 + 3 * 4 + SALT_LEN;

/// Plain bytes in a chunk.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

/// The most that a header may ask for: 1 GiB, and as many passes and lanes as nobody needs.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

/// Where the passphrase comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
}

impl PassphraseSource {
    /// Reads it, without its line end.
    pub fn read(&self) -> Result<Secret, ArchiveError> {
        let secret = match self {
            Self::File(path) => secret_file::read_private(path)?,
            Self::Credential(name) => secret_file::read_credential(name)?,
        };
        let passphrase = secret_file::without_line_end(&secret);
        if passphrase.len() < MIN_PASSPHRASE_LEN {
            return Err(ArchiveError::WeakPassphrase);
        }
        Ok(Secret::new(passphrase.to_vec()))
    }
}

/// An archive that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The passphrase cannot be read.
    #[error("passphrase: {0}")]
    Secret(#[from] SecretFileError),
    /// It protects nothing.
    #[error("the passphrase is too short: expected at least {MIN_PASSPHRASE_LEN} bytes")]
    WeakPassphrase,
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no backup of certgate")]
    NotAnArchive,
    /// A newer certgate wrote it.
    #[error(
        "the file has version {0}, this certgate knows up to {VERSION}: use the newer certgate that wrote it"
    )]
    Newer(u8),
    /// The header asks for what no certgate writes.
    #[error("the header is damaged: its key derivation would cost too much")]
    Cost,
    /// The passphrase is not the one that it was written under.
    #[error("the passphrase is not the one that the file was written under (or its header was changed)")]
    WrongPassphrase,
    /// It was cut off between two chunks.
    #[error("the file was cut off")]
    CutOff,
    /// It was changed, or cut off within a chunk.
    #[error("the file was changed, cut off or is damaged, near byte {0}")]
    Damaged(u64),
    /// The key cannot be derived (usually: too little memory).
    #[error("the key cannot be derived: {0}")]
    Derivation(String),
}

impl From<KekError> for ArchiveError {
    fn from(error: KekError) -> Self {
        match error {
            KekError::Secret(error) => Self::Secret(error),
            KekError::Derivation(problem) => Self::Derivation(problem),
            other => Self::Derivation(other.to_string()),
        }
    }
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Io(error) => error,
            other => Self::other(other),
        }
    }
}

/// The key of one archive, and the number of the next chunk.
struct Chunks {
    key: LessSafeKey,
    number: u64,
}

impl Chunks {
    /// Chunks of the archive whose header begins with `deriving`. Gives the check value too.
    fn derive(
        passphrase: &Secret,
        cost: &Argon2Cost,
        deriving: &[u8],
    ) -> Result<(Self, [u8; CHECK_LEN]), ArchiveError> {
        let stretched = cost.derive(passphrase.expose())?;
        let root = Salt::new(HKDF_SHA256, deriving).extract(stretched.as_slice());
        let mut key = Zeroizing::new([0; 32]);
        let mut check = Zeroizing::new([0; 32]);
        expand(&root, b"chunks", &mut key)?;
        expand(&root, b"check value", &mut check)?;
        let failed = |_| ArchiveError::Derivation("AES-256-GCM takes no such key".to_owned());
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(failed)?;
        let mut short = [0; CHECK_LEN];
        short.copy_from_slice(check.split_at(CHECK_LEN).0);
        Ok((Self { key, number: 0 }, short))
    }

    /// Number and end of the next chunk: no two chunks of a file have the same nonce, and no two files have the same key.
    fn nonce(&self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let (head, end) = nonce.split_at_mut(NONCE_LEN - 1);
        let (_, number) = head.split_at_mut(head.len() - 8);
        number.copy_from_slice(&self.number.to_be_bytes());
        end.fill(u8::from(last));
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, chunk: &mut Vec<u8>, last: bool) -> io::Result<()> {
        self.key
            .seal_in_place_append_tag(self.nonce(last), Aad::empty(), chunk)
            .map_err(|_| io::Error::other("sealing failed"))?;
        self.number += 1;
        Ok(())
    }

    /// Whether `chunk` is the next one; then it is plain.
    fn open(&mut self, chunk: &mut Vec<u8>, last: bool) -> bool {
        let Ok(length) =
            self.key.open_in_place(self.nonce(last), Aad::empty(), chunk).map(|plain| plain.len())
        else {
            return false;
        };
        chunk.truncate(length);
        self.number += 1;
        true
    }
}

fn expand(root: &Prk, label: &'static [u8], key: &mut [u8; 32]) -> Result<(), ArchiveError> {
    root.expand(&[label], HKDF_SHA256)
        .and_then(|okm| okm.fill(key))
        .map_err(|_| ArchiveError::Derivation("HKDF failed".to_owned()))
}

/// Writes an archive. What is not ended with [`ArchiveWriter::finish`] reads as cut off.
pub struct ArchiveWriter<W> {
    out: W,
    chunks: Chunks,
    plain: Zeroizing<Vec<u8>>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes the header.
    pub fn create(out: W, passphrase: &Secret) -> Result<Self, ArchiveError> {
        Self::create_with(out, passphrase, &Argon2Cost::new()?)
    }

    fn create_with(mut out: W, passphrase: &Secret, cost: &Argon2Cost) -> Result<Self, ArchiveError> {
        let mut header = MAGIC.to_vec();
        header.push(VERSION);
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            header.extend_from_slice(&number.to_be_bytes());
        }
        let salt = hex::decode(&cost.salt).map_err(|error| ArchiveError::Derivation(error.to_string()))?;
        header.extend_from_slice(&salt);
        let (chunks, check) = Chunks::derive(passphrase, cost, &header)?;
        out.write_all(&header)?;
        out.write_all(&check)?;
        // Room for the tag from the start: growing would leave a copy of what is plain behind.
        Ok(Self { out, chunks, plain: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)) })
    }

    /// Writes the last chunk and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, last: bool) -> io::Result<()> {
        self.chunks.seal(&mut self.plain, last)?;
        self.out.write_all(&self.plain)?;
        self.plain.clear();
        Ok(())
    }
}

impl<W: Write> Write for ArchiveWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known whether it is the last.
        if self.plain.len() == CHUNK {
            self.put(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.plain.len());
        self.plain.extend_from_slice(bytes.split_at(taken).0);
        Ok(taken)
    }

    /// A chunk is written when it is full: there is nothing to do before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an archive. Its end was reached only if reading gave 0; its errors are [`ArchiveError`]s within [`io::Error`]s.
pub struct ArchiveReader<R> {
    source: R,
    chunks: Chunks,
    plain: Zeroizing<Vec<u8>>,
    /// How much of `plain` was given.
    given: usize,
    /// The chunk after this one, as far as it was read.
    ahead: Vec<u8>,
    /// Where `ahead` begins in the file.
    at: u64,
    ended: bool,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the header and derives the key.
    pub fn open(mut source: R, passphrase: &Secret) -> Result<Self, ArchiveError> {
        let mut header = [0; DERIVING_LEN];
        let (magic, rest) = header.split_at_mut(MAGIC.len());
        source.read_exact(magic).map_err(|error| cut_off(error, ArchiveError::NotAnArchive))?;
        if magic != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        let (version, rest) = rest.split_at_mut(1);
        source.read_exact(version).map_err(|error| cut_off(error, ArchiveError::CutOff))?;
        match version {
            [VERSION] => {}
            [0] => return Err(ArchiveError::NotAnArchive),
            newer => return Err(ArchiveError::Newer(newer.iter().copied().sum())),
        }
        source.read_exact(rest).map_err(|error| cut_off(error, ArchiveError::CutOff))?;
        let cost = cost(rest)?;
        let mut check = [0; CHECK_LEN];
        source.read_exact(&mut check).map_err(|error| cut_off(error, ArchiveError::CutOff))?;
        let (chunks, expected) = Chunks::derive(passphrase, &cost, &header)?;
        constant_time::verify_slices_are_equal(&check, &expected)
            .map_err(|_| ArchiveError::WrongPassphrase)?;
        let mut reader = Self {
            source,
            chunks,
            plain: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)),
            given: 0,
            ahead: Vec::with_capacity(CHUNK + TAG),
            at: (DERIVING_LEN + CHECK_LEN) as u64,
            ended: false,
        };
        reader.read_ahead()?;
        Ok(reader)
    }

    /// Opens the chunk ahead. Whether it is the last one is known by whether anything comes after it.
    fn next_chunk(&mut self) -> Result<(), ArchiveError> {
        let at = self.at;
        self.plain.clear();
        self.plain.extend_from_slice(&self.ahead);
        self.given = 0;
        self.at += self.ahead.len() as u64;
        self.read_ahead()?;
        let last = self.ahead.is_empty();
        if self.plain.len() < TAG {
            return Err(ArchiveError::CutOff);
        }
        let sealed = if last { self.plain.clone() } else { Zeroizing::default() };
        if self.chunks.open(&mut self.plain, last) {
            self.ended = last;
            return Ok(());
        }
        *self.plain = Vec::new();
        // Nothing comes after a chunk that is not the last: the rest is missing.
        let mut sealed = sealed;
        let cut = last && self.chunks.open(&mut sealed, false);
        Err(if cut { ArchiveError::CutOff } else { ArchiveError::Damaged(at) })
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        self.ahead.clear();
        self.source.by_ref().take((CHUNK + TAG) as u64).read_to_end(&mut self.ahead).map(drop)
    }
}

fn cost(bytes: &[u8]) -> Result<Argon2Cost, ArchiveError> {
    let (numbers, salt) = bytes.split_at_checked(12).ok_or(ArchiveError::CutOff)?;
    let mut numbers = numbers.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
    let mut number = |most: u32| numbers.next().filter(|number| (1..=most).contains(number));
    let (memory, passes, lanes) = (number(MAX_MEMORY_KIB), number(MAX_PASSES), number(MAX_LANES));
    let (Some(memory_kib), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
        return Err(ArchiveError::Cost);
    };
    Ok(Argon2Cost { salt: hex::encode(salt), memory_kib, passes, lanes })
}

/// `short` where the source ended too early.
fn cut_off(error: io::Error, short: ArchiveError) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof { short } else { error.into() }
}

impl<R: Read> Read for ArchiveReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.plain.len() && !self.ended {
            self.next_chunk()?;
        }
        let (_, rest) = self.plain.split_at(self.given);
        let count = rest.len().min(buffer.len());
        buffer.split_at_mut(count).0.copy_from_slice(rest.split_at(count).0);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = DERIVING_LEN + CHECK_LEN;
    const SEALED: usize = CHUNK + TAG;

    fn passphrase() -> Secret {
        Secret::from("correct horse battery staple")
    }

    fn cheap(salt: u8) -> Argon2Cost {
        Argon2Cost { salt: hex::encode([salt; SALT_LEN]), memory_kib: 8, passes: 1, lanes: 1 }
    }

    fn sealed_with(content: &[u8], salt: u8) -> Vec<u8> {
        let mut writer = ArchiveWriter::create_with(Vec::new(), &passphrase(), &cheap(salt)).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        sealed_with(content, 1)
    }

    fn opened(archive: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut content = Vec::new();
        let mut reader = ArchiveReader::open(archive, &passphrase())?;
        match reader.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(*error.into_inner().unwrap().downcast::<ArchiveError>().unwrap()),
        }
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn every_length_comes_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let archive = sealed(&content(length));
            assert!(opened(&archive).unwrap() == content(length), "{length}");
            assert_eq!(archive.len(), HEADER + length + length.div_ceil(CHUNK).max(1) * TAG);
        }
    }

    #[test]
    fn the_plain_text_is_not_in_the_file_and_no_two_files_are_alike() {
        let plain = b"-----BEGIN PRIVATE KEY-----".repeat(10);
        let archive = sealed(&plain);
        assert!(!archive.windows(10).any(|window| window == &plain[..10]));
        let other = sealed_with(&plain, 2);
        assert_ne!(archive[HEADER..], other[HEADER..]);
    }

    #[test]
    fn a_wrong_passphrase_is_said_so() {
        let archive = sealed(b"content");
        let refused = ArchiveReader::open(&archive[..], &Secret::from("correct horse battery stable"));
        assert!(matches!(refused.err(), Some(ArchiveError::WrongPassphrase)));
    }

    #[test]
    fn a_file_that_was_cut_off_is_said_so_wherever_it_ends() {
        let archive = sealed(&content(3 * CHUNK));
        for length in [HEADER + SEALED, HEADER + 2 * SEALED, HEADER, HEADER + 5, HEADER - 1, MAGIC.len()] {
            let refused = opened(&archive[..length]);
            assert!(matches!(refused, Err(ArchiveError::CutOff)), "{length}: {refused:?}");
        }
        // Within a chunk the rest is no chunk at all.
        for length in [HEADER + SEALED / 2, HEADER + SEALED + 100, archive.len() - 1] {
            let refused = opened(&archive[..length]);
            assert!(matches!(refused, Err(ArchiveError::Damaged(_))), "{length}: {refused:?}");
        }
    }

    #[test]
    fn chunks_cannot_be_reordered_repeated_or_left_out() {
        let archive = sealed(&content(4 * CHUNK));
        let chunk = |n: usize| &archive[HEADER + n * SEALED..HEADER + (n + 1) * SEALED];
        let header = &archive[..HEADER];
        for order in
            [[0, 2, 1, 3].as_slice(), &[1, 0, 2, 3], &[0, 0, 1, 2, 3], &[0, 1, 3], &[3], &[0, 1, 2, 3, 3]]
        {
            let parts: Vec<_> = std::iter::once(header).chain(order.iter().map(|n| chunk(*n))).collect();
            let refused = opened(&parts.concat());
            assert!(matches!(refused, Err(ArchiveError::Damaged(_))), "{order:?}: {refused:?}");
        }
    }

    #[test]
    fn chunks_of_another_file_do_not_fit() {
        let (one, other) = (sealed_with(&content(2 * CHUNK), 1), sealed_with(&content(2 * CHUNK), 2));
        let spliced = [&one[..HEADER + SEALED], &other[HEADER + SEALED..]].concat();
        let refused = opened(&spliced);
        assert!(
            matches!(refused, Err(ArchiveError::Damaged(at)) if at == (HEADER + SEALED) as u64),
            "{refused:?}"
        );
    }

    #[test]
    fn no_byte_can_be_changed() {
        let archive = sealed(b"content");
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 1;
            assert!(opened(&changed).is_err(), "byte {at}");
        }
        assert!(opened(&[&archive[..], b"x"].concat()).is_err());
    }

    #[test]
    fn what_is_no_archive_or_a_newer_one_is_named() {
        assert!(matches!(opened(b"PK\x03\x04"), Err(ArchiveError::NotAnArchive)));
        assert!(matches!(opened(&[b'x'; 200]), Err(ArchiveError::NotAnArchive)));
        let mut newer = sealed(b"content");
        newer[MAGIC.len()] = 2;
        assert!(matches!(opened(&newer), Err(ArchiveError::Newer(2))));
    }

    #[test]
    fn a_header_cannot_ask_for_all_memory() {
        let mut greedy = sealed(b"content");
        greedy[MAGIC.len() + 1..MAGIC.len() + 5].fill(0xff);
        assert!(matches!(opened(&greedy), Err(ArchiveError::Cost)));
    }
}

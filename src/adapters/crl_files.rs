//! CRLs of other CAs in files, which something else keeps up to date (a timer with curl, the other CA's own export).

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use der::pem;

use crate::{
    ports::{CrlSource, CrlUnreadable},
    wire::crl::Crl,
};

/// Largest CRL that is read: some 800,000 entries.
const MAX_LEN: u64 = 32 * 1024 * 1024;

/// Files, by the path that the configuration names them with; read again when they changed.
#[derive(Default)]
pub struct CrlFiles {
    read: Mutex<HashMap<String, (Stamp, Arc<Crl>)>>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
}

impl std::fmt::Debug for CrlFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrlFiles")
    }
}

impl CrlSource for CrlFiles {
    fn crl(&self, name: &str) -> Result<Arc<Crl>, CrlUnreadable> {
        self.current(name).map_err(|reason| CrlUnreadable { name: name.to_owned(), reason })
    }
}

impl CrlFiles {
    fn current(&self, name: &str) -> Result<Arc<Crl>, String> {
        let path = PathBuf::from(name);
        let found = fs::metadata(&path).map_err(|error| error.to_string())?;
        let modified = found.modified().map_err(|error| error.to_string())?;
        let stamp = Stamp { modified, length: found.len() };
        if let Some((read, crl)) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(name)
            && *read == stamp
        {
            return Ok(Arc::clone(crl));
        }
        let crl = Arc::new(read(&path)?);
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(name.to_owned(), (stamp, Arc::clone(&crl)));
        Ok(crl)
    }
}

/// One CRL, as DER or PEM.
fn read(path: &PathBuf) -> Result<Crl, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if length as u64 > MAX_LEN {
        return Err(format!("it is larger than {MAX_LEN} bytes"));
    }
    // Before it there may be words (RFC 7468 §2), as `openssl crl -text` writes them.
    if std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("-----BEGIN X509 CRL")) {
        bytes = pem::decode_vec(&bytes).map_err(|error| error.to_string())?.1;
    }
    Crl::from_der(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = include_bytes!("../../fixtures/x509/entries.crl");

    #[test]
    fn a_file_is_read_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crl");
        let name = path.to_str().unwrap();
        let files = CrlFiles::default();
        assert!(files.crl(name).is_err());
        fs::write(&path, ROOT).unwrap();
        let first = files.crl(name).unwrap();
        assert!(Arc::ptr_eq(&first, &files.crl(name).unwrap()), "unchanged, it is read once");
        let text = pem::encode_string("X509 CRL", pem::LineEnding::LF, ROOT).unwrap();
        fs::write(&path, format!("Certificate Revocation List (CRL):\n{text}")).unwrap();
        let second = files.crl(name).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(second.as_der(), first.as_der());
        fs::write(&path, b"no CRL").unwrap();
        assert!(files.crl(name).is_err(), "an older one that was read before is not given");
    }
}

//! The Unix socket of the command line: one per data directory, open to nobody but root and the server's own user.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener as StdListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::app::failure::{Failure, Outcome};

/// The socket, bound, with mode 0600.
pub(super) struct LocalSocket(UnixListener);

impl LocalSocket {
    /// Binds the socket at `path`. One that a crashed server left behind is replaced; one that somebody answers is not. Needs a runtime.
    pub(super) fn bind(path: &Path) -> Outcome<Self> {
        make_way(path)?;
        let listener = bind_privately(path).map_err(|error| {
            let failure = Failure::error(format_args!("cannot listen on {}: {error}", path.display()));
            // sun_path has 108 bytes.
            match error.kind() {
                io::ErrorKind::InvalidInput => {
                    failure.hint("the path is too long: set listen.socket to a shorter one")
                }
                _ => failure,
            }
        })?;
        listener.set_nonblocking(true).map_err(Failure::error)?;
        UnixListener::from_std(listener).map(Self).map_err(Failure::error)
    }

    pub(super) fn into_listener(self) -> UnixListener {
        self.0
    }

    /// Removes the socket's file at the end.
    pub(super) fn remove(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the socket's file could not be removed");
        }
    }
}

fn make_way(path: &Path) -> Outcome {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::error(format_args!("{}: {error}", path.display()))),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(Failure::error(format_args!("{} is in the way: it is no socket", path.display()))
                .hint("set listen.socket to another path"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(Failure::error(format_args!("{} is in use: another server answers there", path.display())))
        }
        Ok(_) => fs::remove_file(path).map_err(Failure::while_doing(path.display())),
    }
}

/// Bound under another name first, so that nobody finds the socket before its mode is right.
fn bind_privately(path: &Path) -> io::Result<StdListener> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Outcome<LocalSocket> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        LocalSocket::bind(path)
    }

    #[test]
    fn the_socket_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certgate.sock");
        let _socket = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_crash_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certgate.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&path).unwrap();
    }

    #[test]
    fn a_socket_that_is_answered_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certgate.sock");
        let _other = StdListener::bind(&path).unwrap();
        let failure = bind(&path).err().unwrap();
        assert!(failure.message.contains("in use"), "{failure}");
    }

    #[test]
    fn another_file_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certgate.sock");
        fs::write(&path, "precious").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}

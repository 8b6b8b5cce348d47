//! Where the files of an enrolment go, looked at before anything is asked for: a certificate that cannot be written is lost, and a
//! one-time challenge with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::app::{
    cli::files::writable,
    failure::{Failure, Outcome},
};

/// A file and the option that names it.
pub(super) type Place<'a> = (&'static str, &'a Path);

/// Checks that each of `written` can be made, and that none of them is another one of them or of `kept`.
pub(super) fn check(written: &[Place<'_>], kept: &[Place<'_>]) -> Outcome {
    let mut taken: Vec<(&str, PathBuf)> =
        kept.iter().map(|(option, path)| (*option, resolved(path))).collect();
    for (option, path) in written {
        let place = resolved(path);
        if let Some((other, _)) = taken.iter().find(|(_, known)| *known == place) {
            return Err(Failure::usage(format_args!(
                "{other} and {option} name the same file, {}: one would take the place of the other",
                path.display()
            )));
        }
        writable(path).map_err(Failure::while_doing(format_args!("{option} {}", path.display())))?;
        taken.push((option, place));
    }
    Ok(())
}

/// The file itself, however it is written; one that is not there yet, by its directory.
fn resolved(path: &Path) -> PathBuf {
    let by_directory = || {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(directory).ok()?.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(by_directory).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::failure::FailureKind;

    #[test]
    fn a_certificate_never_takes_the_place_of_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("device.key"), "key").unwrap();
        let (key, cert, chain) = (path("device.key"), path("device.pem"), path("ca.pem"));
        check(&[("--cert", &cert), ("--chain", &chain)], &[("--key", &key)]).unwrap();
        std::os::unix::fs::symlink(&key, path("link")).unwrap();
        for same in [key.clone(), dir.path().join("./device.key"), path("link")] {
            let failure = check(&[("--cert", &same)], &[("--key", &key)]).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage);
            assert!(
                failure.message.starts_with("--key and --cert name the same file"),
                "{}",
                failure.message
            );
        }
        let failure = check(&[("--cert", &cert), ("--chain", &cert)], &[("--key", &key)]).unwrap_err();
        assert!(failure.message.starts_with("--cert and --chain name the same file"), "{}", failure.message);
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_found_out_before() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("device.key");
        let below = dir.path().join("no-such-directory/device.pem");
        let failure = check(&[("--cert", &below)], &[("--key", &key)]).unwrap_err();
        assert!(failure.message.starts_with("--cert "), "{}", failure.message);
        assert!(check(&[("--cert", dir.path())], &[("--key", &key)]).is_err(), "a directory");
        let cert = dir.path().join("device.pem");
        fs::write(&cert, "the present one").unwrap();
        check(&[("--cert", &cert)], &[("--key", &key)]).unwrap();
        assert_eq!(fs::read(&cert).unwrap(), b"the present one", "only tried");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
}

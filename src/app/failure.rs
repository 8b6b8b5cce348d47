//! How a command ends when it does not succeed: one clear line, a hint, and an exit code that scripts can tell apart.

use std::{fmt, process::ExitCode};

/// The kinds of failure that have an exit code of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Something did not work: 1.
    Error,
    /// The command line or the configuration is wrong: 2.
    Usage,
    /// The object does not exist: 3.
    NotFound,
    /// A rule, a role or the other side said no: 4.
    Refused,
    /// Some of it was done, some not: 5.
    Partial,
}

impl FailureKind {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Partial => 5,
        }
    }
}

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// What happened, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), hint: None }
    }

    /// Something did not work.
    pub fn error(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Error, message)
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The object does not exist.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// A rule, a role or the other side said no.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Refused, message)
    }

    /// Some of it was done, some not.
    pub fn partial(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Partial, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// For `map_err`: what was being done, then the cause.
    pub fn while_doing<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self::error(format_args!("{doing}: {cause}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.kind.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [
            FailureKind::Error,
            FailureKind::Usage,
            FailureKind::NotFound,
            FailureKind::Refused,
            FailureKind::Partial,
        ]
        .map(FailureKind::code);
        assert_eq!(codes, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_hint_stands_on_its_own_line() {
        let failure = Failure::error("no server").hint("start it");
        assert_eq!(failure.to_string(), "no server\nhint: start it");
    }
}

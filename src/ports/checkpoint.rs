//! A small file outside the database.

/// The file cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckpointError(pub String);

/// Keeps a few hundred bytes apart from the store, so that who copies the store back does not copy them too.
pub trait CheckpointFile: Send + Sync {
    /// What was written last; none where nothing ever was.
    fn read(&self) -> Result<Option<Vec<u8>>, CheckpointError>;
    /// Replaces what is there, whole or not at all, and durably before it returns.
    fn write(&self, content: &[u8]) -> Result<(), CheckpointError>;
}

/// Keeps nothing: for a gateway that nobody relies on, and for one that is only being made.
#[derive(Clone, Copy, Debug)]
pub struct NoCheckpoint;

impl CheckpointFile for NoCheckpoint {
    fn read(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(None)
    }

    fn write(&self, _: &[u8]) -> Result<(), CheckpointError> {
        Ok(())
    }
}

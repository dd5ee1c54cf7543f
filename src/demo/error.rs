//! What can keep the demonstration from being given.

use std::io;
use std::path::PathBuf;

use crate::child::Failure;

/// Why there was no demonstration, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for does not fit the directory.
    #[error("{0}")]
    Unusable(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] crate::error::Error),
    /// A file, a pipe or a process could not be had.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The child did not live until it was killed.
    #[error("the child process {0}")]
    Child(String),
    /// The bank is not as any sequence of transfers could leave it.
    #[error("the bank is damaged: {0}")]
    Bank(String),
    /// Something failed; the directory was left as it was then.
    #[error("{source} (left for you to look at: {})", directory.display())]
    In {
        /// The directory of the database.
        directory: PathBuf,
        /// What failed.
        source: Box<Error>,
    },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io { what, source } => Self::Io { what, source },
            Failure::Child(how) => Self::Child(how),
        }
    }
}

impl Error {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    /// Whether another call of the program, not another program, is what helps.
    #[must_use]
    pub fn is_wrong_usage(&self) -> bool {
        match self {
            Self::Unusable(_) => true,
            Self::Engine(error) => error.is_wrong_usage(),
            Self::In { source, .. } => source.is_wrong_usage(),
            _ => false,
        }
    }
}

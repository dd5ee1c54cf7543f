//! What can keep an experiment from being done.

use std::io;

use crate::child::Failure;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be worked in: name another.
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
            Self::Io { .. } | Self::Child(_) => false,
        }
    }
}

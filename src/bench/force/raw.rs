//! The disk alone: one block written and forced, over and over.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use super::{BLOCK_BYTES, Turn, over_and_over};
use crate::bench::Error;

/// The file is gone through block by block, then again from its beginning.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// How a block is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raw {
    /// `pwrite`, then `fsync`.
    Fsync,
    /// `pwrite`, then `fdatasync`.
    Fdatasync,
    /// `pwrite` into a file that was opened with `O_DSYNC`.
    Dsync,
}

impl Raw {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fsync, Self::Fdatasync, Self::Dsync];

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Fdatasync => "fdatasync",
            Self::Dsync => "o_dsync",
        }
    }

    /// Writes and forces until the time is over.
    pub(super) fn turn(self, path: &Path, time: Duration) -> Result<Turn, Error> {
        let failed = |what| Error::io(format!("{what} {}", path.display()));
        let mut options = File::options();
        options.write(true);
        if self == Self::Dsync {
            options.custom_flags(i32::try_from(OFlags::DSYNC.bits()).expect("a low bit"));
        }
        let file = options.open(path).map_err(failed("open"))?;
        let (mut at, mut number) = (0, 0_u8);
        over_and_over(time, || {
            number = number.wrapping_add(1);
            file.write_all_at(&[number; BLOCK_BYTES], at).map_err(failed("write"))?;
            at = (at + BLOCK_BYTES as u64) % FILE_BYTES;
            match self {
                Self::Fsync => file.sync_all(),
                Self::Fdatasync => file.sync_data(),
                Self::Dsync => Ok(()),
            }
            .map_err(failed("force"))
        })
    }
}

/// Makes the file that is written to: filled, and durable with all that belongs to it.
pub(super) fn prepare(directory: &Path) -> Result<PathBuf, Error> {
    let path = directory.join("raw");
    let fill = || {
        let file = File::create_new(&path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()
    };
    fill().map_err(Error::io(format!("fill {}", path.display())))?;
    Ok(path)
}

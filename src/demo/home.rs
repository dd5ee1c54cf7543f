//! Where the bank lives: a directory of its own, and nobody else's.
//!
//! The database id of a bank says that it is one, and carries its seed:
//!
//! ```text
//!   bits 64..128  "ariesdmo"      bits 0..64  seed
//! ```
//!
//! It stands in the control file, so it can be read without opening the database: the database of
//! somebody else is refused before anything is recovered in it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Error, options};
use crate::db::{Db, control_file};
use crate::disk::{Disk, FileDisk, OverlayDisk};
use crate::log::{CONTROL_FILE, ControlFile};

const TAG: u64 = u64::from_be_bytes(*b"ariesdmo");
const LOCK_FILE: &str = "LOCK";

/// The directory of the bank.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    is_temporary: bool,
    seed: u64,
}

impl Home {
    /// Finds the bank in `directory`, or makes an empty database there; in a new directory if none
    /// is named.
    ///
    /// # Errors
    /// [`Error::Unusable`] for a directory with other things in it, or a bank of another seed.
    pub fn prepare(directory: Option<&Path>, seed: Option<u64>) -> Result<Self, Error> {
        let Some(path) = directory else {
            let path = new_temporary_directory()?;
            return Self::make(path, true, seed);
        };
        if is_empty(path)? {
            return Self::make(path.into(), false, seed);
        }
        let found = seed_in(path)?;
        match seed {
            Some(seed) if seed != found => Err(Error::Unusable(format!(
                "the bank in {} was made with seed {found}, not {seed}",
                path.display()
            ))),
            _ => Ok(Self { path: path.into(), is_temporary: false, seed: found }),
        }
    }

    fn make(path: PathBuf, is_temporary: bool, seed: Option<u64>) -> Result<Self, Error> {
        let seed = seed.unwrap_or_else(random);
        let id = u128::from(TAG) << 64 | u128::from(seed);
        let made = options().database_id(id).open(&path).and_then(Db::close);
        let home = Self { path, is_temporary, seed };
        made.map_err(|error| home.left_behind(error.into()))?;
        Ok(home)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the transfers follow from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether nobody asked for this directory.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// The error, with a word on where a directory that nobody named was left.
    pub fn left_behind(&self, error: Error) -> Error {
        match self.is_temporary {
            true => Error::In { directory: self.path.clone(), source: Box::new(error) },
            false => error,
        }
    }

    /// Copies the database, which nobody has open, into a new directory.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub fn copy(&self) -> Result<Self, Error> {
        let copy = Self { path: new_temporary_directory()?, is_temporary: true, seed: self.seed };
        let copied = copy_files(&self.path, &copy.path);
        copied.map_err(|error| copy.left_behind(error))?;
        Ok(copy)
    }

    /// Removes it, with all that is in it.
    ///
    /// # Errors
    /// Those of removing.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.path).map_err(Error::io(format!("remove {}", self.path.display())))
    }
}

/// The seed of the bank on a disk that is not open otherwise.
///
/// # Errors
/// [`Error::Unusable`] for another database; those of reading the control file.
pub fn seed_of(disk: &dyn Disk) -> Result<u64, Error> {
    let id = ControlFile::open(disk)?.master().database_id;
    if id >> 64 != u128::from(TAG) {
        let path = disk.location();
        let message = format!("{} holds a database that is not the demo's", path.display());
        return Err(Error::Unusable(message));
    }
    Ok(u64::try_from(id & u128::from(u64::MAX)).expect("the lower half"))
}

fn seed_in(path: &Path) -> Result<u64, Error> {
    if path.is_dir() && path.join(CONTROL_FILE).exists() {
        return seed_of(&FileDisk::open(path)?);
    }
    // A database that lost its control file is damaged, whosever it is.
    let damaged = OverlayDisk::over_directory(path).and_then(|disk| control_file(&disk));
    if let Err(error @ crate::error::Error::Corrupt { .. }) = damaged {
        return Err(error.into());
    }
    let path = path.display();
    Err(Error::Unusable(format!("{path} is neither empty nor a bank of an earlier demo")))
}

/// Whether there is nothing at the path, or an empty directory.
fn is_empty(path: &Path) -> Result<bool, Error> {
    match fs::read_dir(path) {
        Ok(names) => Ok(names.flatten().all(|name| name.file_name() == LOCK_FILE)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(Error::io(format!("read the directory {}", path.display()))(error)),
    }
}

fn new_temporary_directory() -> Result<PathBuf, Error> {
    let path = std::env::temp_dir().join(format!("aries-demo-{:016x}", random()));
    fs::create_dir(&path).map_err(Error::io(format!("create {}", path.display())))?;
    Ok(path)
}

fn copy_files(from: &Path, to: &Path) -> Result<(), Error> {
    let entries =
        fs::read_dir(from).map_err(Error::io(format!("read the directory {}", from.display())))?;
    for entry in entries {
        let source = entry.map_err(Error::io(format!("read {}", from.display())))?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        let problem = || Error::io(format!("copy {}", source.display()));
        if source.is_dir() {
            fs::create_dir(&target).map_err(problem())?;
            copy_files(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(problem())?;
        }
    }
    Ok(())
}

/// A number that nobody can foretell.
fn random() -> u64 {
    // Each state is seeded by the operating system's randomness.
    RandomState::new().hash_one(std::process::id())
}

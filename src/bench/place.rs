//! Where the work is done: a new directory, on a disk, removed in the end.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::Error;

/// A directory that nobody else uses. It is gone when this is.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    in_memory: bool,
}

impl Place {
    /// Makes a new directory in `within`, or in the current directory if none is named.
    ///
    /// # Errors
    /// [`Error::Unusable`] if none can be made there, or if nobody asked for a file system in memory and it is one.
    pub fn make(within: Option<&Path>) -> Result<Self, Error> {
        let folder = within.unwrap_or(Path::new("."));
        let name = format!("aries-bench-{:016x}", RandomState::new().hash_one(std::process::id()));
        let path = folder.join(name);
        fs::create_dir(&path).map_err(|error| {
            let folder = folder.display();
            Error::Unusable(format!(
                "cannot make a directory in {folder}: {error}; --dir names one that is there, on the disk to look at"
            ))
        })?;
        let mut place = Self { path, in_memory: false };
        place.in_memory = is_in_memory(&place.path)?;
        if place.in_memory && within.is_none() {
            return Err(Error::Unusable(
                "the current directory is in memory, where a force does nothing: --dir names one on a disk".into(),
            ));
        }
        Ok(place)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is in memory, where a force does nothing.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Removes it, with all that is in it.
    ///
    /// # Errors
    /// Those of removing.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.path).map_err(Error::io(format!("remove {}", self.path.display())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // It may be gone already.
    }
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &Path) -> Result<bool, Error> {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    const RAMFS: rustix::fs::FsWord = 0x8584_58f6;
    let found = rustix::fs::statfs(path)
        .map_err(|error| Error::io(format!("look at {}", path.display()))(error.into()))?;
    Ok([TMPFS, RAMFS].contains(&found.f_type))
}

/// Elsewhere nothing is known of it.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> Result<bool, Error> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_new_and_is_gone_in_the_end() {
        let within = tempfile::tempdir().unwrap();
        let places = [(), ()].map(|()| Place::make(Some(within.path())).unwrap());
        assert_ne!(places[0].path(), places[1].path());
        fs::write(places[0].path().join("file"), "something").unwrap();
        let [removed, dropped] = places;
        removed.remove().unwrap();
        drop(dropped);
        assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_wrong_usage() {
        let within = tempfile::tempdir().unwrap();
        let refused = Place::make(Some(&within.path().join("none"))).unwrap_err();
        assert!(refused.is_wrong_usage() && refused.to_string().contains("--dir"), "{refused}");
    }
}

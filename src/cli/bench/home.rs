//! The directory of a bench: a new or empty one, and empty again afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::system;
use crate::failure::Failure;

/// Where everything is. What was made is removed when it goes, whatever the reason.
#[derive(Debug)]
pub(super) struct Home {
    inside: Option<TempDir>,
    /// A directory that was made for this.
    made: Option<PathBuf>,
    path: PathBuf,
}

impl Home {
    /// A temporary directory, or a place inside of one that is given, new or empty.
    pub(super) fn claim(given: Option<&Path>) -> Result<Home, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("forebay-bench-");
        let Some(given) = given else {
            let inside = builder.tempdir().map_err(|error| {
                Failure::new("a temporary directory cannot be made").because(error)
            })?;
            return Ok(Home { path: inside.path().to_owned(), inside: Some(inside), made: None });
        };
        let shown = given.display();
        let failed =
            |error: std::io::Error| Failure::new(format!("{shown} cannot be used")).because(error);
        let made = if given.exists() {
            if fs::read_dir(given).map_err(failed)?.next().is_some() {
                return Err(Failure::new(format!("{shown} is not empty; name a new directory")));
            }
            None
        } else {
            fs::create_dir_all(given).map_err(failed)?;
            Some(given.to_owned())
        };
        let mut home = Home { inside: None, made, path: given.to_owned() };
        let inside = builder.tempdir_in(given).map_err(failed)?;
        home.path = inside.path().to_owned();
        home.inside = Some(inside);
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that so many bytes can be written.
    pub(super) fn has_room(&self, needed: u64) -> Result<(), Failure> {
        let shown = self.path.display();
        let available = system::available_bytes(&self.path);
        let available = available.map_err(|error| {
            Failure::new(format!("the space of {shown} cannot be told")).because(error)
        })?;
        if needed <= available {
            return Ok(());
        }
        let text =
            format!("{shown} has {} left, and {} may be needed", mib(available), mib(needed));
        Err(Failure::new(format!("{text}; name another --dir, or fewer --events")))
    }
    /// A directory for a phase.
    pub(super) fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(|error| {
            Failure::new(format!("{} cannot be made", path.display())).because(error)
        })?;
        Ok(path)
    }

    /// Removes what a phase has made.
    pub(super) fn remove(&self, place: &Path) -> Result<(), Failure> {
        fs::remove_dir_all(place).map_err(|error| {
            Failure::new(format!("{} cannot be removed", place.display())).because(error)
        })
    }

    /// Leaves everything, for somebody to look at; where that is.
    pub(super) fn keep(mut self) -> PathBuf {
        self.made = None;
        self.inside.take().map_or_else(|| self.path.clone(), TempDir::keep)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let cleared = self.inside.take().map_or(Ok(()), TempDir::close);
        // Only if nobody else has put something there meanwhile.
        let cleared = cleared.and_then(|()| self.made.take().map_or(Ok(()), fs::remove_dir));
        if let Err(error) = cleared {
            tracing::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed_and_what_was_there_stays() {
        let given = tempfile::tempdir().expect("a temporary directory");
        let new = given.path().join("new");
        let home = Home::claim(Some(&new)).expect("it is new");
        assert!(home.path().starts_with(&new) && home.path() != new);
        fs::write(home.path().join("floor"), "x").expect("it can be written");
        drop(home);
        assert!(!new.exists());
        let home = Home::claim(Some(given.path())).expect("it is empty");
        let full = Home::claim(Some(given.path())).expect_err("somebody is there");
        assert!(full.to_string().contains("not empty"), "{full}");
        drop(home);
        assert_eq!(fs::read_dir(given.path()).expect("it is there").count(), 0);
        let kept = Home::claim(Some(&new)).expect("it is new").keep();
        assert!(kept.starts_with(&new) && kept.is_dir());
    }

    #[test]
    fn too_little_space_is_told_with_how_much_is_needed() {
        let home = Home::claim(None).expect("a temporary directory");
        assert!(home.has_room(1).is_ok());
        let text = home.has_room(u64::MAX >> 1).expect_err("no disk has that").to_string();
        assert!(text.contains("8796093022208 MiB may be needed"), "{text}");
    }
}

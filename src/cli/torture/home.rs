//! The directory of a torture: only one of its own is ever touched.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::Failure;

/// Stands in every directory of a torture, locked by the one that is under way.
const MARK: &str = "forebay-torture";
const UNDER_WAY: &str = "under way";
const EVIDENCE: &str = "violations were found, and the evidence is here";
/// Larger channels are not copied: that would take longer than all the rest.
const COPIED_BYTES_MAX: u64 = 4 << 20;
/// What the channels' directories begin with.
const LIFE: &str = "channel-";

/// Where the channels are.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    mark: File,
    temporary: Option<TempDir>,
}

/// Where one channel is, with all that belongs to it.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    /// The channel's directory.
    pub data: PathBuf,
    /// The same as it was before the last process opened it, if it is small.
    pub before: PathBuf,
    /// All that the children said.
    pub log: PathBuf,
    /// What the last one wrote to standard error.
    pub stderr: PathBuf,
}

impl Home {
    /// A temporary directory, or one that is given: empty, or left by an earlier torture.
    pub(super) fn claim(given: Option<&Path>) -> Result<Home, Failure> {
        let temporary = match given {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("forebay-torture-").tempdir().map_err(
                |error| Failure::new("a temporary directory cannot be made").because(error),
            )?),
        };
        let path = match (&temporary, given) {
            (Some(temporary), _) => temporary.path(),
            (None, given) => given.unwrap_or(Path::new(".")),
        };
        let path = path.to_owned();
        let failed = |error: std::io::Error| {
            Failure::new(format!("{} cannot be used", path.display())).because(error)
        };
        fs::create_dir_all(&path).map_err(failed)?;
        let mark = take_over(&path)?;
        for life in lives(&path).map_err(failed)? {
            fs::remove_dir_all(life).map_err(failed)?;
        }
        let home = Home { path, mark, temporary };
        home.note(UNDER_WAY)?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn note(&self, text: &str) -> Result<(), Failure> {
        let noted = self.mark.set_len(0).and_then(|()| (&self.mark).write_all(text.as_bytes()));
        noted.map_err(|error| Failure::new(format!("{MARK} cannot be written")).because(error))
    }

    /// A place for a new channel.
    pub(super) fn place(&self, number: u32) -> Result<Place, Failure> {
        let path = self.path.join(format!("{LIFE}{number}"));
        fs::create_dir(&path).map_err(|error| {
            Failure::new(format!("{} cannot be made", path.display())).because(error)
        })?;
        let below = |name| path.join(name);
        let (data, before) = (below("data"), below("before"));
        let (log, stderr) = (below("log"), below("stderr"));
        Ok(Place { data, before, log, stderr, path })
    }

    /// Leaves all as it is, for somebody to look at.
    pub(super) fn keep(mut self) -> Result<PathBuf, Failure> {
        self.note(EVIDENCE)?;
        Ok(self.temporary.take().map_or(self.path, TempDir::keep))
    }

    /// Removes what was made here.
    pub(super) fn clear(self) -> Result<(), Failure> {
        let cleared = match self.temporary {
            Some(temporary) => temporary.close(),
            None => lives(&self.path)
                .and_then(|lives| lives.iter().try_for_each(fs::remove_dir_all))
                .and_then(|()| fs::remove_file(self.path.join(MARK))),
        };
        cleared.map_err(|error| {
            Failure::new(format!("{} cannot be cleared", self.path.display())).because(error)
        })
    }
}

impl Place {
    /// Keeps a copy of the channel as it is now.
    pub(super) fn copy(&self) -> Result<(), Failure> {
        let copied = copy(&self.data, &self.before);
        copied.map_err(|error| {
            Failure::new(format!("{} cannot be copied", self.data.display())).because(error)
        })
    }

    pub(super) fn remove(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.path).map_err(|error| {
            Failure::new(format!("{} cannot be removed", self.path.display())).because(error)
        })
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(to)?,
    }
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            bytes += entry.metadata()?.len();
            files.push(entry);
        }
    }
    if bytes <= COPIED_BYTES_MAX {
        for file in files {
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// Makes sure that a directory is a torture's, and nobody else's.
fn take_over(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    let failed =
        |error: std::io::Error| Failure::new(format!("{shown} cannot be used")).because(error);
    let marked = path.join(MARK);
    let empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    if !empty && !marked.is_file() {
        let text = format!("{shown} is not empty, and no torture made what is in it");
        return Err(Failure::new(format!("{text}; name a new directory")));
    }
    let mark = File::options().read(true).append(true).create(true).open(&marked);
    let mark = mark.map_err(failed)?;
    match mark.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Failure::new(format!("another torture is under way in {shown}")));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if fs::read_to_string(&marked).map_err(failed)?.starts_with(EVIDENCE) {
        let text =
            format!("{shown} holds what an earlier torture found; look at it, and remove it");
        return Err(Failure::new(text));
    }
    Ok(mark)
}

/// The directories of channels.
fn lives(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut lives = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(LIFE)).map(str::parse::<u32>);
        if matches!(number, Some(Ok(_))) && entry.file_type()?.is_dir() {
            lives.push(entry.path());
        }
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_taken_and_left_empty() {
        let given = tempfile::tempdir().expect("a temporary directory");
        let path = given.path().join("made");
        let home = Home::claim(Some(&path)).expect("it is new");
        let place = home.place(1).expect("it is new");
        fs::create_dir(&place.data).expect("it can be made");
        fs::write(place.data.join("1.wal"), "x").expect("it can be written");
        place.copy().expect("it can be copied");
        assert_eq!(fs::read(place.before.join("1.wal")).expect("it is there"), b"x");
        home.clear().expect("it is its own");
        assert_eq!(fs::read_dir(&path).expect("it is there").count(), 0);
    }

    #[test]
    fn what_an_ended_torture_left_goes_and_what_it_did_not_make_stays() {
        let given = tempfile::tempdir().expect("a temporary directory");
        let home = Home::claim(Some(given.path())).expect("it is empty");
        home.place(7).expect("it is new");
        let running = Home::claim(Some(given.path())).expect_err("one is enough");
        assert!(running.to_string().contains("under way"), "{running}");
        drop(home);
        let notes = given.path().join("channel-notes");
        fs::create_dir(&notes).expect("it can be made");
        let home = Home::claim(Some(given.path())).expect("it is its own");
        assert!(!given.path().join("channel-7").exists() && notes.exists());
        let kept = home.keep().expect("it can be written");
        assert_eq!(kept, given.path());
        let evidence = Home::claim(Some(given.path())).expect_err("it holds evidence");
        assert!(evidence.to_string().contains("found"), "{evidence}");
    }

    #[test]
    fn a_foreign_directory_is_refused_and_untouched() {
        let given = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(given.path().join("channel-1")).expect("it can be made");
        let foreign = Home::claim(Some(given.path())).expect_err("it is not empty");
        assert!(foreign.to_string().contains("not empty"), "{foreign}");
        assert!(given.path().join("channel-1").exists() && !given.path().join(MARK).exists());
    }
}

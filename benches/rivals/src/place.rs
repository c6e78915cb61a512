//! What is measured on: the file system, and the memory of this process.

use std::fs;
use std::path::Path;

/// The type of the file system that a directory is on, with how it is mounted.
pub fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    of(&mounts, &dir).unwrap_or_else(|| "a file system that is not known".to_owned())
}

fn of(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(point).then(|| (point.len(), format!("{kind} ({options})")))
    });
    // The longest one, and the last one of those, lies over the others.
    mounts.max_by_key(|(len, _)| *len).map(|(_, says)| says)
}

/// The most memory that this process ever had resident, in KiB.
pub fn peak_resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_the_innermost_mount_around_it() {
        let mounts = "/dev/a / ext4 rw,relatime 0 0\ntmpfs /tmp tmpfs rw 0 0\nb /tm xfs ro 0 0\n";
        assert_eq!(of(mounts, Path::new("/tmp/x")).as_deref(), Some("tmpfs (rw)"));
        assert_eq!(of(mounts, Path::new("/tm")).as_deref(), Some("xfs (ro)"));
        assert_eq!(of(mounts, Path::new("/tmpx")).as_deref(), Some("ext4 (rw,relatime)"));
        assert_eq!(of("", Path::new("/tmp")), None);
    }

    #[test]
    fn a_process_has_had_some_memory() {
        assert!(peak_resident_kib().is_some_and(|kib| kib > 100));
    }
}

//! What the system says of this process and of the disk.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most memory that this process had resident, since the last [`reset_peak_rss`].
pub(super) fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Lets the peak begin anew. Where that cannot be, it is that of the whole run.
pub(super) fn reset_peak_rss() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The bytes that all write calls of this process have written.
pub(super) fn write_calls_bytes() -> Option<u64> {
    let counts = fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}

/// The type of the file system that a path is on.
pub(super) fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    file_system_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// The type of the mount with the longest path above, the last of several at one place.
fn file_system_in(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let place = unescaped(place.split(' ').nth(4)?);
        let above = path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&place)));
        above.then(|| (place.len(), kind.split(' ').next().unwrap_or_default().to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// Blanks and the like stand in octal.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|code| u8::from_str_radix(code, 8).ok());
        bytes.push(code.unwrap_or(b'\\'));
        rest = rest.get(at + if code.is_some() { 4 } else { 1 }..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The bytes that this user may still write to the file system of a path.
pub(super) fn available_bytes(path: &Path) -> std::io::Result<u64> {
    let space = rustix::fs::statvfs(path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 22 0:25 / /dev rw shared:2 - devtmpfs none rw\n\
            31 30 0:26 / /dev/shm rw - tmpfs tmpfs rw\n\
            32 22 0:27 / /my\\040disk rw,noatime shared:7 - xfs /dev/vdb rw\n\
            33 22 0:28 / /my\\040disk rw - btrfs /dev/vdc rw\n\
            a line that is none\n";
        let table = [
            ("/home/me", "ext4"),
            ("/dev/shm/x", "tmpfs"),
            ("/dev/shmx", "devtmpfs"),
            ("/my disk/d", "btrfs"),
        ];
        for (path, kind) in table {
            assert_eq!(file_system_in(mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert_eq!(file_system_in("", Path::new("/")), None);
        assert_eq!(unescaped("a\\134b\\x\\"), b"a\\b\\x\\");
    }

    #[test]
    fn this_process_has_memory_and_this_disk_has_space() {
        assert!(peak_rss_mib().is_some_and(|mib| mib > 0.5));
        assert!(write_calls_bytes().is_some());
        assert!(available_bytes(Path::new("/")).is_ok());
        assert!(file_system(Path::new("/")).is_some_and(|kind| !kind.is_empty()));
    }
}

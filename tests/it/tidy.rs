//! The project's own rules, kept by a test: what the compiler and clippy do not check.
//!
//! Most rules look at code alone: [`Source::code`] has blanks in the place of comments, of the
//! contents of strings, and of the unit tests at the end of a file.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Every directory with sources of ours.
const ALL: [&str; 8] =
    ["src", "tests", "wal/src", "wal/tests", "wal/proof", "benches", "fuzz", "examples"];
/// What is shipped.
const SHIPPED: [&str; 2] = ["src", "wal/src"];

struct Source {
    /// Its path from the top of the project.
    path: String,
    text: String,
    code: String,
}

#[test]
fn no_file_is_too_long() {
    for source in sources(&SHIPPED) {
        let lines = source.code.trim_end().lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines: split it by its nouns", source.path);
    }
}

#[test]
fn no_function_is_too_long() {
    for source in sources(&SHIPPED) {
        for (name, lines) in functions(&source.code) {
            let path = &source.path;
            assert!(lines <= FUNCTION_LINES_MAX, "{path}: `{name}` has {lines} lines");
        }
    }
}

#[test]
fn only_reclaim_removes_files_of_a_channel() {
    for source in sources(&["wal/src"]) {
        let code = chained(&source.code);
        if !stands_at(&source, "wal/src/reclaim") && !stands_at(&source, "wal/src/fs") {
            assert!(!names(&code, "fs.remove"), "{} removes a file", source.path);
        }
        if !stands_at(&source, "wal/src/fs/os") {
            for call in ["remove_file", "remove_dir", "remove_dir_all"] {
                assert!(!names(&code, call), "{} goes past `Fs::remove`", source.path);
            }
        }
    }
}

#[test]
fn the_log_reaches_the_world_through_its_traits_alone() {
    for source in sources(&["wal/src"]) {
        if !stands_at(&source, "wal/src/fs/os") {
            for path in ["std::fs", "std::process", "fs2", "memmap2"] {
                assert!(!names(&source.code, path), "{} names {path}", source.path);
            }
        }
        if !stands_at(&source, "wal/src/env") {
            for path in ["Instant::now", "SystemTime", "rand"] {
                assert!(!names(&source.code, path), "{} names {path}", source.path);
            }
        }
        for path in ["std::net", "std::process::Command", "tokio"] {
            assert!(!names(&source.code, path), "{} names {path}", source.path);
        }
    }
}

#[test]
fn each_outside_package_of_the_log_is_used_in_one_place() {
    let users = |package: &str| -> Vec<String> {
        let sources = sources(&["wal/src"]);
        let users = sources.into_iter().filter(|source| names(&source.code, package));
        users.map(|source| source.path).collect()
    };
    assert_eq!(users("crc32fast"), ["wal/src/checksum.rs"]);
    let users = users("bincode");
    assert!(users.len() <= 1, "bincode is named in {users:?}");
}

#[test]
fn only_the_file_channel_names_the_log() {
    for source in sources(&["src"]) {
        if !stands_at(&source, "src/channel/file") {
            for package in ["wal::", "forebay_wal"] {
                assert!(!names(&source.code, package), "{} names {package}", source.path);
            }
        }
    }
}

#[test]
fn sources_and_sinks_know_the_transaction_api_alone() {
    for (dir, other) in [("src/source", "sink"), ("src/sink", "source")] {
        for source in sources(&[dir]) {
            let code = &source.code;
            let path = &source.path;
            assert!(!names(code, &format!("{other}::")), "{path} names a {other}");
            assert!(!names(code, &format!("crate::{other}")), "{path} names a {other}");
            for channel in ["FileChannel", "MemoryChannel", "channel::file", "channel::memory"] {
                assert!(!names(code, channel), "{path} names {channel}");
            }
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_file() {
    for source in sources(&ALL) {
        // The experiment with io_uring is shipped with nothing, and outside of the workspace.
        if source.path != "wal/src/fs/os.rs" && source.path != "benches/uring/src/lib.rs" {
            assert!(!names(&source.code, "unsafe"), "{} is unsafe", source.path);
        }
    }
}

#[test]
fn no_lint_is_allowed_and_no_test_ignored() {
    for source in sources(&ALL) {
        let code = code_of(&source.text);
        for line in code.lines().filter(|line| line.contains("#[") || line.contains("#![")) {
            let path = &source.path;
            assert!(!names(line, "allow("), "{path}: `expect` with a reason, not {line}");
            assert!(!names(line, "ignore"), "{path}: a test that does not run is none: {line}");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for source in sources(&ALL) {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
            assert!(!names(&source.text, word), "{}: {word}", source.path);
        }
    }
}

#[test]
fn sources_are_ascii() {
    for source in sources(&ALL) {
        for (line, number) in source.text.lines().zip(1..) {
            assert!(line.is_ascii(), "{}:{number}: {line}", source.path);
        }
    }
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = r##"
fn short<'a>(x: &'a str) -> [u8; 2] { /* fn not /* at */ all() { */ [b'{', b'\''] }
// unsafe
fn long(
    s: &str,
) {
    let _ = ("unsafe \" {", r#"unsafe " {"#, '"', '{', '\\');
}
fn declared(n: [u8; 4]);
#[cfg(test)]
mod tests { fn unsafe_in_test() {} }
"##;
    let code = without_tests(&code_of(text));
    assert!(!names(&code, "unsafe"), "{code}");
    let expected = [("short".to_owned(), 1), ("long".to_owned(), 5)];
    assert_eq!(functions(&code), expected, "{code}");
    assert!(names("self.fs.remove(x)", "fs.remove") && !names("offs.remove(x)", "fs.remove"));
    assert!(names(&chained("self.fs\n    .remove(x)"), "fs.remove"));
    assert!(sources(&SHIPPED).len() > 10);
}

/// Every Rust file below some directories. Those that are not there yet have none.
fn sources(dirs: &[&str]) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left: Vec<PathBuf> = dirs.iter().map(|dir| top.join(dir)).collect();
    let mut sources = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.ends_with("target") {
            let entries = fs::read_dir(&path).expect("a directory of sources can be read");
            left.extend(entries.map(|entry| entry.expect("its entries too").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is readable text");
            let relative = path.strip_prefix(top).expect("it was found below the top");
            let code = without_tests(&code_of(&text));
            sources.push(Source { path: relative.to_string_lossy().into_owned(), text, code });
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// Whether a source is a module, or stands in its directory.
fn stands_at(source: &Source, module: &str) -> bool {
    let rest = source.path.strip_prefix(module);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a text has a name in it, and not only as a part of a longer one.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let open_end = name.ends_with(|c| !is_part(c));
        !before.is_some_and(is_part) && (open_end || !after.is_some_and(is_part))
    })
}

/// The code, with a method that begins a line joined to what it is called on.
fn chained(code: &str) -> String {
    let mut joined = String::new();
    for line in code.lines().map(str::trim) {
        if !line.starts_with('.') {
            joined.push('\n');
        }
        joined.push_str(line);
    }
    joined
}

/// The code in front of the unit tests at the end of a file.
fn without_tests(code: &str) -> String {
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].to_owned()
}

/// Every function with a body, and how many lines it has.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if is_word
            && !name.is_empty()
            && let Some(end) = end_of_body(&code[at..])
        {
            functions.push((name, code[at..at + end].lines().count()));
        }
    }
    functions
}

/// Where the body of the function ends that a piece of code begins with. None if it has no body.
fn end_of_body(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at + 1),
            '}' => braces -= 1,
            ';' if braces == 0 && others == 0 => return None,
            _ => {}
        }
    }
    None
}

/// A text with blanks in the place of comments and of the contents of strings and characters.
/// Lines stay lines.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = blank_len(rest, code.chars().next_back());
        if len == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (blank, after) = rest.split_at(len);
            code.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// How long the comment, string or character is that a text begins with; 0 if it is none.
fn blank_len(text: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        comment_len(text)
    } else if text.starts_with('"') {
        quoted_len(text, '"')
    } else if text.starts_with('\'') {
        let mut chars = text.chars().skip(1);
        // Otherwise it is a lifetime.
        let is_char = chars.next() == Some('\\') || chars.next() == Some('\'');
        if is_char { quoted_len(text, '\'') } else { 0 }
    } else if text.starts_with('r') && (!in_name || before == Some('b')) {
        raw_len(text)
    } else {
        0
    }
}

fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

fn raw_len(text: &str) -> usize {
    let hashes: String = text[1..].chars().take_while(|c| *c == '#').collect();
    let begin = 1 + hashes.len();
    if !text[begin..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{hashes}");
    text[begin + 1..].find(&end).map_or(text.len(), |at| begin + 1 + at + end.len())
}

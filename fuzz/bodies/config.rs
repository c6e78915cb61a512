use std::path::Path;

use forebay::config::{Config, parse_duration, parse_size};

/// Any text: reading a configuration ends without a panic, and says what is wrong or gives one.
pub fn config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let environment = |name: &str| name.starts_with('A').then(|| name.to_lowercase());
    if let Err(problems) = Config::parse(Path::new("fuzz.toml"), text, &environment) {
        assert!(problems.iter().next().is_some(), "refused without a reason");
        let lines = text.lines().count() + 1;
        for problem in problems.iter() {
            assert!(problem.line <= lines, "line {} of {lines}", problem.line);
            assert!(!problem.text.is_empty(), "a problem without words");
        }
        // A file is not answered with a book.
        let words = problems.to_string().len();
        assert!(words <= 4096 + 1024 * text.len(), "{words} bytes about {}", text.len());
    }
    // Both only have to end.
    let _ = (parse_size(text), parse_duration(text));
}

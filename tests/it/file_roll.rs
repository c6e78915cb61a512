//! The file_roll sink: what it writes, and what it makes of a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::channel::{Channel, MAIN_CURSOR, MemoryChannel, MemoryOptions, TakeTransaction};
use forebay::event::Event;
use forebay::sink::Sink;
use tempfile::TempDir;

use crate::support::{parse, rolled, rolled_text, soon, start, until};

/// A sink and its channel, driven by hand so that a crash can come between any two steps.
struct Bench {
    directory: TempDir,
    keys: &'static str,
    channel: Arc<dyn Channel>,
    sink: Box<dyn Sink>,
}

impl Bench {
    async fn new(keys: &'static str) -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let channel = Arc::new(MemoryChannel::new(MemoryOptions::default()));
        let sink = configured(directory.path(), keys);
        let mut bench = Bench { directory, keys, channel, sink };
        bench.open().await;
        bench
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn open(&mut self) {
        let state = self.channel.cursor_state(MAIN_CURSOR);
        let state = soon(self.sink.open(state)).await.expect("the directory can be used");
        if state.is_some() {
            self.commit(self.begin(), state).await;
        }
    }

    /// The process dies and starts again; what it had not committed is open no more.
    async fn crash(&mut self) {
        self.sink = configured(self.directory.path(), self.keys);
        self.open().await;
    }

    fn begin(&self) -> Box<dyn TakeTransaction> {
        self.channel.take_transaction(MAIN_CURSOR).expect("it is open")
    }

    async fn put(&self, bodies: &[&str]) {
        let mut put = self.channel.put_transaction();
        for body in bodies {
            put.put(&Event::new((*body).to_owned())).expect("it fits");
        }
        soon(put.commit()).await.expect("there is space");
    }

    /// Delivers what is there, up to the moment before the take commits.
    async fn deliver(&mut self) -> (Box<dyn TakeTransaction>, Option<Vec<u8>>) {
        let mut take = self.begin();
        let taken = soon(take.take(100, Duration::ZERO)).await.expect("it is open");
        assert!(!taken.is_empty(), "there is something to deliver");
        let state = soon(self.sink.deliver(taken)).await.expect("it is written");
        (take, state)
    }

    async fn commit(&self, mut take: Box<dyn TakeTransaction>, state: Option<Vec<u8>>) {
        take.set_state(&state.expect("the sink keeps a state")).expect("it fits");
        soon(take.commit()).await.expect("the take commits");
    }

    async fn deliver_all(&mut self) {
        let (take, state) = self.deliver().await;
        self.commit(take, state).await;
    }

    fn text(&self) -> String {
        rolled_text(self.path())
    }

    fn files(&self) -> Vec<PathBuf> {
        rolled(self.path()).into_iter().map(|(path, _)| path).collect()
    }
}

fn configured(directory: &Path, keys: &str) -> Box<dyn Sink> {
    let mut config = parse(&format!(
        "channels.c.type = 'memory'\n[sinks.out]\ntype = 'file_roll'\nchannel = 'c'\n\
         directory = '{}'\n{keys}\n",
        directory.display()
    ));
    config.sinks.remove(0).sink
}

#[tokio::test]
async fn bodies_are_written_one_a_line_and_a_restart_goes_on_in_the_same_file() {
    let mut bench = Bench::new("").await;
    assert!(bench.files().is_empty(), "no file before the first event");
    bench.put(&["a", "", "c\r"]).await;
    bench.deliver_all().await;
    bench.crash().await;
    bench.put(&["d"]).await;
    bench.deliver_all().await;
    assert_eq!(bench.text(), "a\n\nc\r\nd\n");
    assert_eq!(bench.files().len(), 1);
}

#[tokio::test]
async fn a_crash_before_the_commit_doubles_nothing() {
    let mut bench = Bench::new("").await;
    bench.put(&["a", "b"]).await;
    bench.deliver_all().await;
    bench.put(&["c"]).await;
    for _ in 0..3 {
        let (take, _) = bench.deliver().await;
        assert_eq!(bench.text(), "a\nb\nc\n");
        drop(take);
        bench.crash().await;
        assert_eq!(bench.text(), "a\nb\n", "what was not acknowledged is cut");
    }
    bench.deliver_all().await;
    assert_eq!(bench.text(), "a\nb\nc\n");
}

#[tokio::test]
async fn what_would_go_into_a_deleted_file_goes_into_a_new_one() {
    let mut bench = Bench::new("roll_interval = '0s'").await;
    bench.put(&["a"]).await;
    bench.deliver_all().await;
    std::fs::remove_dir_all(bench.path()).expect("it can be deleted");
    bench.put(&["b"]).await;
    let mut take = bench.begin();
    let taken = soon(take.take(100, Duration::ZERO)).await.expect("it is open");
    let failure = soon(bench.sink.deliver(taken)).await.expect_err("the file is gone");
    assert!(failure.to_string().contains("was deleted"), "{failure}");
    drop(take);
    bench.open().await;
    bench.deliver_all().await;
    assert_eq!(bench.text(), "b\n");
}

#[tokio::test]
async fn a_crash_before_the_very_first_commit_doubles_nothing() {
    let mut bench = Bench::new("").await;
    bench.put(&["a"]).await;
    let (take, _) = bench.deliver().await;
    assert_eq!(bench.text(), "a\n");
    drop(take);
    bench.crash().await;
    assert!(bench.files().is_empty());
    bench.deliver_all().await;
    assert_eq!(bench.text(), "a\n");
}

#[tokio::test]
async fn a_crash_after_a_roll_removes_the_new_files_and_cuts_the_old_one() {
    let mut bench = Bench::new("roll_bytes = 4").await;
    bench.put(&["a"]).await;
    bench.deliver_all().await;
    bench.put(&["b", "c", "d", "eeeeee", "f"]).await;
    let (take, _) = bench.deliver().await;
    let texts: Vec<String> = rolled(bench.path()).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a\nb\n", "c\nd\n", "eeeeee\n", "f\n"]);
    drop(take);
    bench.crash().await;
    assert_eq!(bench.text(), "a\n");
    bench.deliver_all().await;
    let texts: Vec<String> = rolled(bench.path()).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a\nb\n", "c\nd\n", "eeeeee\n", "f\n"]);
}

#[tokio::test]
async fn a_failed_delivery_is_undone_when_the_sink_opens_again() {
    let mut bench = Bench::new("").await;
    bench.put(&["a"]).await;
    let (take, _) = bench.deliver().await;
    take.rollback();
    bench.open().await;
    bench.deliver_all().await;
    assert_eq!(bench.text(), "a\n");
}

#[tokio::test]
async fn names_rise_over_restarts_with_prefix_and_extension() {
    let mut bench = Bench::new("prefix = 'log.'\nextension = 'txt'\nroll_bytes = 1").await;
    for number in 0..12 {
        bench.put(&[&number.to_string()]).await;
        bench.deliver_all().await;
        bench.crash().await;
    }
    let names: Vec<String> = bench
        .files()
        .iter()
        .map(|path| path.file_name().expect("it has a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 12);
    let series = names[0].split_once('-').expect("it has a number").0;
    assert!(series.strip_prefix("log.").is_some_and(|series| series.parse::<u64>().is_ok()));
    for (number, name) in (1..).zip(&names) {
        assert_eq!(*name, format!("{series}-{number}.txt"));
    }
    assert_eq!(bench.text(), (0..12).map(|number| format!("{number}\n")).collect::<String>());
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let mut bench = Bench::new("").await;
    bench.put(&["a"]).await;
    bench.deliver_all().await;
    let ours = bench.files()[0].file_name().expect("a name").to_string_lossy().into_owned();
    let series = ours.strip_suffix("-1").expect("it is the first").to_owned();
    let others = [
        format!("{series}-01"),
        format!("{series}-+9"),
        format!("{series}-9.txt"),
        format!("{series}9-9"),
        "1-9".to_owned(),
        "notes".to_owned(),
    ];
    for name in &others {
        std::fs::write(bench.path().join(name), "theirs").expect("it is written");
    }
    std::fs::write(bench.path().join(format!("{series}-9")), "ours").expect("it is written");
    bench.crash().await;
    for name in &others {
        let text = std::fs::read_to_string(bench.path().join(name)).expect("it is there");
        assert_eq!(text, "theirs");
    }
    assert!(!bench.path().join(format!("{series}-9")).exists(), "a newer one of ours goes");
}

#[tokio::test]
async fn a_file_that_was_moved_away_or_cut_is_followed_by_a_new_one() {
    let mut bench = Bench::new("").await;
    for (number, body) in [(1, "a"), (2, "b"), (3, "c")] {
        bench.put(&[body]).await;
        bench.deliver_all().await;
        let file = bench.files().pop().expect("there is one");
        assert!(file.to_string_lossy().ends_with(&format!("-{number}")), "{file:?}");
        if number == 1 {
            std::fs::remove_file(file).expect("it is ours");
        } else {
            std::fs::write(file, "").expect("it is ours");
        }
        bench.crash().await;
    }
}

#[tokio::test]
async fn a_state_of_another_sink_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut sink = configured(directory.path(), "");
    let refused = soon(sink.open(Some(Bytes::from_static(b"{\"sink\":\"other\"}")))).await;
    let failure = refused.expect_err("it is not ours").to_string();
    assert!(failure.contains("cursor"), "{failure}");
}

#[tokio::test]
async fn time_alone_rolls_a_file() {
    let mut bench = Bench::new("roll_interval = '1ms'").await;
    bench.put(&["a"]).await;
    bench.deliver_all().await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    bench.put(&["b"]).await;
    bench.deliver_all().await;
    assert_eq!((bench.text().as_str(), bench.files().len()), ("a\nb\n", 2));
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_tried_again_until_it_can() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().join("out");
    std::fs::write(&out, "in the way").expect("it is written");
    let agent = start(&format!(
        "channels.c.type = 'memory'\n[sinks.out]\ntype = 'file_roll'\nchannel = 'c'\n\
         directory = '{}'\nbackoff = '1ms'\nbackoff_max = '2ms'\n\
         [sinks.other]\ntype = 'null'\nchannel = 'c'\ncursor = 'other'\n",
        out.display()
    ))
    .await;
    let channel = agent.channel("c").expect("it is configured");
    let mut put = channel.put_transaction();
    put.put(&Event::new("a")).expect("it fits");
    soon(put.commit()).await.expect("there is space");
    // The other sink goes on meanwhile.
    until(|| (channel.stats().events_taken == 1).then_some(())).await;
    std::fs::remove_file(&out).expect("it is ours");
    until(|| (rolled_text(&out) == "a\n").then_some(())).await;
    agent.stop().await.expect("nothing failed for good");
}

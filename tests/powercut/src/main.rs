//! The release program on a disk that loses power: `put --ack` and `take` are cut off at random, the
//! disk forgets what no sync covered, and all that was acknowledged must come out once, in order.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

mod disk;
mod faults;
mod ledger;
mod life;
mod mount;
mod profile;
mod program;
mod random;

use life::{Life, Setting, Tally};
use profile::{Outlook, PROFILES, Profile};

/// Cut the power under `forebay put` and `forebay take`, again and again.
///
/// Exits with 0 if every promise was kept, 1 if not, 2 if it could not be tried. Needs /dev/fuse
/// and the right to mount; without them it says that it skips, and exits with 0.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program under trial
    #[arg(long, value_name = "FILE", default_value = "target/release/forebay")]
    binary: PathBuf,
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 50)]
    seconds: u64,
    /// The seed of the first life; each has the next one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The most lives
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    lives: u64,
    /// Puts and takes in one life
    #[arg(long, value_name = "N", default_value_t = 12)]
    rounds: u64,
    /// Only this kind of disk
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Keep the files of disks on which something went wrong
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Leave the channel's byte limit as it is by default, with segments of 64 MiB
    #[arg(long)]
    default_limit: bool,
    /// Tell each run
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(why) = cannot_mount() {
        println!("powercut: skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let known = |name: &String| PROFILES.iter().any(|profile| profile.name == name);
    if let Some(name) = arguments.profile.as_ref().filter(|name| !known(name)) {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        eprintln!("powercut: there is no disk {name:?}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    if !arguments.binary.is_file() {
        eprintln!("powercut: there is no program {}", arguments.binary.display());
        return ExitCode::from(2);
    }
    match campaign(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("powercut: {error}");
            ExitCode::from(2)
        }
    }
}

/// Why nothing can be tried here, if so.
fn cannot_mount() -> Option<String> {
    if !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse".into());
    }
    let plug = mount::Plug::new(disk::Disk::new(faults::Traits::default(), 0));
    let tried = tempfile::tempdir().and_then(|at| {
        let session = mount::mount(&plug, at.path())?;
        session.umount_and_join()
    });
    tried.err().map(|error| format!("a file system in user space cannot be mounted: {error}"))
}

/// Lives one life after the other; whether all went well.
fn campaign(arguments: &Arguments) -> std::io::Result<bool> {
    let begun = Instant::now();
    let until = Duration::from_secs(arguments.seconds);
    let chosen = |profile: &&Profile| match &arguments.profile {
        Some(name) => profile.name == name,
        None => true,
    };
    let profiles: Vec<&Profile> = PROFILES.iter().filter(chosen).collect();
    let mut tallies: Vec<Tally> = profiles.iter().map(|_| Tally::default()).collect();
    let mut good = true;
    let mut lives = 0;
    while lives < arguments.lives && begun.elapsed() < until {
        let at = (lives % profiles.len() as u64) as usize;
        let seed = arguments.seed + lives;
        lives += 1;
        let setting = Setting {
            binary: &arguments.binary,
            profile: *profiles[at],
            seed,
            keep: arguments.keep.as_deref(),
            verbose: arguments.verbose,
            default_limit: arguments.default_limit,
        };
        let (tally, violation) = Life::new(setting)?.live(arguments.rounds);
        tallies[at].add(&tally);
        if let Some(violation) = violation
            && !matches!(profiles[at].outlook, Outlook::Breaks(_))
        {
            println!("VIOLATION: {violation}");
            good = false;
        }
    }
    report(&profiles, &tallies, begun.elapsed());
    for (profile, tally) in profiles.iter().zip(&tallies) {
        // A few lives may be lucky; many are not.
        if let Outlook::Breaks(lives) = profile.outlook
            && tally.lives >= lives
            && tally.violations == 0
        {
            println!("VIOLATION: {} lost nothing: the trial finds nothing", profile.name);
            good = false;
        }
    }
    Ok(good)
}

fn report(profiles: &[&Profile], tallies: &[Tally], time: Duration) {
    println!(
        "{:18} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>8} {:>9} {:>6} {:>10}",
        "disk",
        "lives",
        "rounds",
        "cuts",
        "kills",
        "failed",
        "full",
        "acked",
        "delivered",
        "again",
        "violations",
    );
    let mut sum = Tally::default();
    for (profile, tally) in profiles.iter().zip(tallies) {
        line(profile.name, tally);
        if !matches!(profile.outlook, Outlook::Breaks(_)) {
            sum.add(tally);
        }
    }
    line("all but the liars", &sum);
    println!("in {:.1} s", time.as_secs_f64());
}

fn line(name: &str, tally: &Tally) {
    println!(
        "{name:18} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>8} {:>9} {:>6} {:>10}",
        tally.lives,
        tally.rounds,
        tally.cuts,
        tally.kills,
        tally.failed_runs,
        tally.full,
        tally.lines_acked,
        tally.lines_delivered,
        tally.lines_again,
        tally.violations,
    );
}

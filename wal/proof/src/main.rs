//! The campaigns, as a command.

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use forebay_proof::mutants::{MUTANTS, try_all};
use forebay_proof::verdicts::{self, Fate, Where};
use forebay_proof::worlds::Slice;
use forebay_proof::{campaign, shrink, worlds};

const USAGE: &str = "\
usage: forebay-proof cuts --seeds FROM..TO [--threads N] [--json]
       forebay-proof mutants [--all] [--work DIR] [NAME ...]
       forebay-proof worlds [--steps N] [--one-of N] [--seed S] [--threads N] [--json]
       forebay-proof verdicts --images N [--seed S] [--json]
cuts      lives through the random script of each seed, with power cuts
worlds    goes through all sequences of up to N steps (4), every power cut, every change left or
        taken; --one-of takes a part of the sequences only
mutants breaks the engine in named ways, in a copy of the sources, and runs the tests that must
        turn red, or with --all every test of the log
verdicts  opens N disks that were damaged, torn or both, from the lives of seed S on, and holds what
        becomes of each event against the truth
exit codes: 0 all holds, 1 a violation was found, 2 usage";

/// What was asked for.
struct Args {
    seeds: Range<u64>,
    threads: usize,
    json: bool,
    slice: Slice,
    images: u64,
}

impl Args {
    fn parse(args: &[String]) -> Result<Args, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let slice = Slice { steps_max: 4, one_of: 1, seed: 1 };
        let mut parsed = Args { seeds: 0..0, threads, json: false, slice, images: 0 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--json" {
                parsed.json = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            let number = |text: &str| {
                text.parse::<u64>().map_err(|_| format!("{arg}: {text:?} is not a number"))
            };
            match arg.as_str() {
                "--seeds" => {
                    let range = value.split_once("..");
                    let (from, to) = range.ok_or_else(|| format!("{value:?} is not FROM..TO"))?;
                    parsed.seeds = number(from)?..number(to)?;
                }
                "--threads" => parsed.threads = number(value)? as usize,
                "--steps" => parsed.slice.steps_max = number(value)? as usize,
                "--one-of" => parsed.slice.one_of = number(value)?,
                "--images" => parsed.images = number(value)?,
                "--seed" => parsed.slice.seed = number(value)?,
                _ => return Err(format!("{arg} is not known")),
            }
        }
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if command == "mutants" {
        return mutants(rest);
    }
    let run = match command.as_str() {
        "cuts" => cuts,
        "worlds" => all_worlds,
        "verdicts" => all_verdicts,
        _ => {
            eprintln!("{command} is not known\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic of the engine is a violation and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    match Args::parse(rest) {
        Ok(args) if run(&args) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Everything but `--all` and `--work DIR` is a mutant's name.
fn mutants(args: &[String]) -> ExitCode {
    let (mut names, mut all, mut work) = (Vec::new(), false, std::env::temp_dir());
    work.push("forebay-mutants");
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--all" => all = true,
            "--work" => match args.next() {
                Some(dir) => work = dir.into(),
                None => {
                    eprintln!("--work needs a directory\n{USAGE}");
                    return ExitCode::from(2);
                }
            },
            name if MUTANTS.iter().any(|mutant| mutant.name == name) => names.push(arg.clone()),
            name => {
                eprintln!("{name} is no mutant\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(!try_all(&names, &work, all)))
}

fn per_second(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64().max(1e-9)) as u64
}

/// Prints figures, in one of two ways, and violations.
fn print(json: bool, figures: &[(&str, u64)], violations: &[String]) {
    if json {
        let figures: Vec<String> =
            figures.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        println!("{{{},\"violations\":{}}}", figures.join(","), violations.len());
    } else {
        figures.iter().for_each(|(name, value)| println!("{name:>16} {value}"));
        println!("{:>16} {}", "violations", violations.len());
    }
    for violation in violations {
        eprintln!("\n{violation}");
    }
}

fn cuts(args: &Args) -> bool {
    let start = Instant::now();
    let outcome = campaign::cuts(args.seeds.clone(), args.threads);
    let time = start.elapsed();
    let report = outcome.report;
    let figures = [
        ("seeds_from", args.seeds.start),
        ("seeds_to", args.seeds.end),
        ("scripts", outcome.scripts),
        ("ops", report.ops),
        ("cuts", report.cuts),
        ("kills", report.kills),
        ("opens", report.opens),
        ("events", report.events),
        ("seconds", time.as_secs()),
        ("threads", args.threads as u64),
        ("cuts_per_second", per_second(report.cuts, time)),
    ];
    let shrunk = outcome.violations.iter().map(|violation| shrink::shrink(violation).to_string());
    let shrunk: Vec<String> = shrunk.collect();
    print(args.json, &figures, &shrunk);
    shrunk.is_empty()
}

fn all_worlds(args: &Args) -> bool {
    let start = Instant::now();
    let tally = worlds::explore(args.slice, args.threads);
    let time = start.elapsed();
    let mut figures = vec![
        ("steps_max", args.slice.steps_max as u64),
        ("one_of", args.slice.one_of),
        ("seed", args.slice.seed),
        ("sequences", tally.sequences),
        ("moments", tally.moments),
        ("worlds", tally.worlds),
        ("double_crashes", tally.double),
        ("seconds", time.as_secs()),
        ("threads", args.threads as u64),
        ("worlds_per_second", per_second(tally.worlds + tally.double, time)),
    ];
    figures.extend(tally.families.iter().map(|(name, worlds)| (*name, *worlds)));
    print(args.json, &figures, &tally.violations);
    tally.violations.is_empty()
}

fn all_verdicts(args: &Args) -> bool {
    let counts = verdicts::campaign(args.images, args.slice.seed);
    if args.json {
        let fates = counts.rows.values().flat_map(|(_, fates)| fates);
        let sum = |place: Where, of: fn(&Fate) -> u64| -> u64 {
            fates.clone().filter(|(at, _)| **at == place).map(|(_, fate)| of(fate)).sum()
        };
        let mut figures = vec![
            ("images".to_owned(), counts.images),
            ("torn".to_owned(), counts.torn),
            ("torn_and_damaged".to_owned(), counts.torn_and_damaged),
            ("called_corrupt".to_owned(), counts.called_corrupt),
            ("wrong".to_owned(), counts.wrong),
        ];
        for place in [Where::Outside, Where::Window, Where::End] {
            let name = format!("{place:?}").to_lowercase();
            figures.push((format!("{name}_blocks"), sum(place, |fate| fate.blocks)));
            figures.push((format!("{name}_served"), sum(place, |fate| fate.served)));
            figures.push((format!("{name}_named"), sum(place, |fate| fate.named)));
            figures.push((format!("{name}_told"), sum(place, |fate| fate.told)));
            figures.push((format!("{name}_silent"), sum(place, |fate| fate.silent)));
        }
        let figures: Vec<(&str, u64)> =
            figures.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        print(true, &figures, &counts.wrongs);
    } else {
        println!("{counts}");
        counts.wrongs.iter().for_each(|wrong| eprintln!("{wrong}"));
    }
    counts.wrong == 0
}

//! The campaigns, as a command.

use std::process::ExitCode;
use std::time::Instant;

use forebay_proof::campaign;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (from, to) = args[2].split_once("..").expect("a range");
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let seeds = from.parse().expect("a number")..to.parse().expect("a number");
    let outcome = campaign::cuts(seeds, 2);
    println!("{} {:?} {:?}", outcome.scripts, outcome.report, start.elapsed());
    println!("{} violations", outcome.violations.len());
    for v in outcome.violations.iter().take(3) {
        println!("{}", forebay_proof::shrink::shrink(v));
    }
    ExitCode::SUCCESS
}

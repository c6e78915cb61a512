//! The figures: medians over the rounds, and tables of them.

use std::fmt::Write;

use serde::Serialize;

use crate::files::Slice;
use crate::ways::{AHEAD_SIZES, Ahead, SIZES, Way};

/// What all rounds gave.
#[derive(Default)]
pub struct Report {
    refused: Option<String>,
    slices: Vec<Turn>,
    ahead: Vec<(Ahead, f64)>,
}

/// One way's turn in one round.
struct Turn {
    way: Way,
    size_bytes: usize,
    p50_us: f64,
    p99_us: f64,
    mean_us: f64,
}

#[derive(Serialize)]
struct Row {
    way: &'static str,
    size_bytes: usize,
    p50_us: f64,
    p99_us: f64,
    mb_per_s: f64,
    /// Its writes a second over the plain way's of the same round: their median, least and most.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
}

#[derive(Serialize)]
struct AheadRow {
    size_bytes: usize,
    in_flight: usize,
    mb_per_s: f64,
    /// To one after the other, of the same round: their median, least and most.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
}

#[derive(Serialize)]
struct Json<'a> {
    io_uring_refused: Option<&'a str>,
    one_by_one: Vec<Row>,
    ahead: Vec<AheadRow>,
}

impl Report {
    pub fn new(refused: Option<String>) -> Report {
        Report { refused, ..Report::default() }
    }

    pub fn add(&mut self, way: Way, size_bytes: usize, slice: Slice) {
        let mean_us = slice.us.iter().sum::<f64>() / slice.us.len() as f64;
        let sorted = sorted(slice.us);
        let (p50_us, p99_us) = (quantile(&sorted, 0.5), quantile(&sorted, 0.99));
        self.slices.push(Turn { way, size_bytes, p50_us, p99_us, mean_us });
    }

    pub fn add_ahead(&mut self, ahead: Ahead, mb_per_s: f64) {
        self.ahead.push((ahead, mb_per_s));
    }

    pub fn json(&self) -> String {
        let refused = self.refused.as_deref();
        let report =
            Json { io_uring_refused: refused, one_by_one: self.rows(), ahead: self.ahead_rows() };
        serde_json::to_string(&report).expect("numbers and names")
    }

    pub fn tables(&self) -> String {
        let mut out = String::from(
            "| KiB | way | p50, us | p99, us | MB/s | writes/s to the plain way's (least, most) |\n\
             | ---: | --- | ---: | ---: | ---: | --- |\n",
        );
        for row in self.rows() {
            let Row { way, p50_us, p99_us, mb_per_s, ratio, ratio_min, ratio_max, .. } = row;
            let kib = row.size_bytes >> 10;
            let ratios = format!("{ratio:.2} ({ratio_min:.2}, {ratio_max:.2})");
            writeln!(
                out,
                "| {kib} | {way} | {p50_us:.0} | {p99_us:.0} | {mb_per_s:.0} | {ratios} |"
            )
            .expect("a string takes it");
        }
        out.push_str(
            "\n| KiB | in flight, O_DIRECT and O_DSYNC | MB/s | to one after the other (least, most) |\n\
             | ---: | ---: | ---: | --- |\n",
        );
        for row in self.ahead_rows() {
            let AheadRow { in_flight, mb_per_s, ratio, ratio_min, ratio_max, .. } = row;
            let kib = row.size_bytes >> 10;
            let ratios = format!("{ratio:.2} ({ratio_min:.2}, {ratio_max:.2})");
            writeln!(out, "| {kib} | {in_flight} | {mb_per_s:.0} | {ratios} |")
                .expect("a string takes it");
        }
        if let Some(refused) = &self.refused {
            writeln!(out, "\nio_uring is not to be had here: {refused}.")
                .expect("a string takes it");
        }
        out
    }

    fn rows(&self) -> Vec<Row> {
        let all = SIZES.into_iter().flat_map(|size| Way::all().map(move |way| (size, way)));
        all.filter_map(|(size, way)| self.row(size, way)).collect()
    }

    fn row(&self, size_bytes: usize, way: Way) -> Option<Row> {
        let turns: Vec<&Turn> = self.turns(size_bytes, way).collect();
        let median_of =
            |part: fn(&Turn) -> f64| median(&sorted(turns.iter().map(|turn| part(turn)).collect()));
        let plain = self.turns(size_bytes, Way::Plain);
        let ratios = plain.zip(&turns).map(|(plain, turn)| plain.mean_us / turn.mean_us);
        let ratios = sorted(ratios.collect());
        Some(Row {
            way: way.name(),
            size_bytes,
            p50_us: median_of(|turn| turn.p50_us),
            p99_us: median_of(|turn| turn.p99_us),
            mb_per_s: size_bytes as f64 / median_of(|turn| turn.mean_us),
            ratio_min: *ratios.first()?,
            ratio_max: *ratios.last()?,
            ratio: median(&ratios),
        })
    }

    fn turns(&self, size_bytes: usize, way: Way) -> impl Iterator<Item = &Turn> {
        self.slices.iter().filter(move |turn| turn.size_bytes == size_bytes && turn.way == way)
    }

    fn ahead_rows(&self) -> Vec<AheadRow> {
        let all = Ahead::all();
        let of = |wanted: Ahead| -> Vec<f64> {
            let turns = self.ahead.iter().filter(|(ahead, _)| *ahead == wanted);
            turns.map(|(_, mb_per_s)| *mb_per_s).collect()
        };
        let row = |ahead: Ahead| {
            let one = of(Ahead { in_flight: 1, ..ahead });
            let turns = of(ahead);
            let ratios = sorted(turns.iter().zip(&one).map(|(some, one)| some / one).collect());
            Some(AheadRow {
                size_bytes: ahead.size_bytes,
                in_flight: ahead.in_flight,
                mb_per_s: median(&sorted(turns)),
                ratio_min: *ratios.first()?,
                ratio_max: *ratios.last()?,
                ratio: median(&ratios),
            })
        };
        let wanted = AHEAD_SIZES
            .into_iter()
            .flat_map(|size| all.iter().copied().filter(move |ahead| ahead.size_bytes == size));
        wanted.filter_map(row).collect()
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; of none, nothing that could be taken for a figure.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q) as usize;
    sorted.get(rank).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

fn median(sorted: &[f64]) -> f64 {
    quantile(sorted, 0.5)
}

//! A bar chart of a table, as SVG: a group of bars for each column, a bar for each rival.

use std::fmt::Write;

use crate::table::{Cell, FLOOR, Table, figure};

const BAR_WIDTH: f64 = 18.0;
const GROUP_GAP: f64 = 36.0;
const PLOT_HEIGHT: f64 = 280.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const LEGEND_LINE: f64 = 18.0;
/// A bar that is taller than this many floors is cut and has its ratio above it: only one that does
/// not sync gets there, and it would leave the others no height.
const RATIO_MOST: f64 = 4.0;
/// Told apart by those who see no red or green as well.
const COLOURS: [&str; 10] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b0a000", "#7f7f7f",
    "#8c564b", "#332288",
];

/// How tall a bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By the ratio to the floor.
    RatioToFloor,
    /// By the logarithm of the figure.
    Logarithm,
}

impl Scale {
    fn value(self, cell: &Cell) -> Option<f64> {
        match self {
            Scale::RatioToFloor => cell.ratio_to_floor,
            Scale::Logarithm => Some(cell.median),
        }
    }

    /// The height of a value, from 0 to 1, where `most` is the tallest.
    fn height(self, value: f64, most: f64) -> f64 {
        match self {
            Scale::RatioToFloor => (value / most).min(1.0),
            Scale::Logarithm => ((1.0 + value).ln() / (1.0 + most).ln()).clamp(0.0, 1.0),
        }
    }

    fn ticks(self, most: f64) -> Vec<f64> {
        match self {
            Scale::RatioToFloor => {
                let step = if most > 2.0 { 0.5 } else { 0.2 };
                let ticks = (most / step).floor();
                (0..).map(f64::from).take_while(|tick| *tick <= ticks).map(|t| t * step).collect()
            }
            Scale::Logarithm => {
                (0..12).map(|power| 10_f64.powi(power)).take_while(|tick| *tick <= most).collect()
            }
        }
    }

    /// The tallest value that is drawn whole.
    fn most(self, values: impl Iterator<Item = f64>) -> f64 {
        let drawn = values.filter(|value| self == Scale::Logarithm || *value <= RATIO_MOST);
        drawn.fold(1.0, f64::max) * 1.05
    }

    fn says(self, unit: &str) -> String {
        match self {
            Scale::RatioToFloor => "events/s to those of the floor in the same round".to_owned(),
            Scale::Logarithm => format!("{unit}, logarithmic"),
        }
    }
}

/// Draws a table.
pub fn svg(table: &Table, scale: Scale) -> String {
    // The floor is the line at 1, and no bar.
    let rows: Vec<_> = table
        .rows
        .iter()
        .filter(|row| scale == Scale::Logarithm || row.rival != FLOOR)
        .filter(|row| row.cells.iter().any(Option::is_some))
        .collect();
    let values = rows.iter().flat_map(|row| row.cells.iter().flatten());
    let most = scale.most(values.filter_map(|cell| scale.value(cell)));
    let group = rows.len() as f64 * BAR_WIDTH + GROUP_GAP;
    let width = (LEFT + group * table.columns.len() as f64 + 20.0).max(560.0);
    let base = TOP + PLOT_HEIGHT;
    let height = base + 40.0 + LEGEND_LINE * rows.len() as f64;

    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    text(&mut svg, (LEFT, 20.0), "start", 15, &table.title);
    text(&mut svg, (LEFT, 38.0), "start", 11, &scale.says(&table.unit));
    for tick in scale.ticks(most) {
        let y = base - PLOT_HEIGHT * scale.height(tick, most);
        let is_floor = scale == Scale::RatioToFloor && (tick - 1.0).abs() < 1e-9;
        let stroke = if is_floor { "black" } else { "#dddddd" };
        let right = width - 20.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" stroke=\"{stroke}\"/>"
        );
        text(&mut svg, (LEFT - 6.0, y + 4.0), "end", 11, &figure(tick));
    }
    for (column, name) in table.columns.iter().enumerate() {
        let left = LEFT + GROUP_GAP / 2.0 + group * column as f64;
        let middle = left + (group - GROUP_GAP) / 2.0;
        text(&mut svg, (middle, base + 16.0), "middle", 12, name);
        for (at, row) in rows.iter().enumerate() {
            if let Some(cell) = &row.cells[column]
                && let Some(value) = scale.value(cell)
            {
                let x = left + BAR_WIDTH * at as f64;
                bar(&mut svg, x, PLOT_HEIGHT * scale.height(value, most), at);
                let cut = scale == Scale::RatioToFloor && value > most;
                let hover = format!("{}, {name}: {}", row.rival, figure(cell.median));
                let _ = writeln!(svg, "<title>{}</title></rect>", escaped(&hover));
                if cut {
                    let above = (x + BAR_WIDTH / 2.0, TOP - 3.0);
                    text(&mut svg, above, "middle", 9, &format!("{value:.0}"));
                }
            }
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let y = base + 36.0 + LEGEND_LINE * at as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
            y - 10.0,
            colour(at)
        );
        let says = format!("{}: {}", row.rival, row.syncs);
        text(&mut svg, (LEFT + 20.0, y), "start", 12, &says);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The beginning of a bar, which its title ends.
fn bar(svg: &mut String, x: f64, height: f64, at: usize) {
    let y = TOP + PLOT_HEIGHT - height;
    let width = BAR_WIDTH - 2.0;
    let _ = write!(
        svg,
        "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"{}\">",
        colour(at)
    );
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, text: &str) {
    let text = escaped(text);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    fn table() -> Table {
        let row = |rival: &str, figures: [f64; 2]| Row {
            rival: rival.to_owned(),
            syncs: "a < b & c".to_owned(),
            cells: figures.map(|one| Cell::new(vec![one], Some(&[100.0]))).into(),
            missing: None,
        };
        let mut rows = vec![row(FLOOR, [100.0, 100.0]), row("one", [50.0, 25.0])];
        rows.push(row("other", [100.0, 75.0]));
        rows[2].cells[1] = None;
        Table {
            title: "T".to_owned(),
            command: String::new(),
            unit: "events/s".to_owned(),
            columns: vec!["batch 1".to_owned(), "batch 10".to_owned()],
            rows,
            notes: Vec::new(),
        }
    }

    fn heights(svg: &str) -> Vec<f64> {
        let bars = svg.lines().filter(|line| line.starts_with("<rect class=\"bar\""));
        let height = |bar: &str| {
            let (_, rest) = bar.split_once(" height=\"").expect("a height");
            rest.split_once('"').expect("its end").0.parse().expect("a number")
        };
        bars.map(height).collect()
    }

    #[test]
    fn each_figure_beside_the_floor_is_a_bar_as_tall_as_its_ratio() {
        let svg = svg(&table(), Scale::RatioToFloor);
        let heights = heights(&svg);
        assert_eq!(heights.len(), 3, "{svg}");
        assert!((heights[0] / heights[1] - 0.5).abs() < 0.01, "{heights:?}");
        assert!((heights[2] / heights[1] - 0.25).abs() < 0.01, "{heights:?}");
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("a < b"), "{svg}");
        assert_eq!(svg.matches("stroke=\"black\"").count(), 1, "the floor's line");
    }

    #[test]
    fn one_that_does_not_sync_leaves_the_others_their_height() {
        let mut table = table();
        table.rows[2].cells[1] = Cell::new(vec![7200.0], Some(&[100.0]));
        let svg = svg(&table, Scale::RatioToFloor);
        let heights = heights(&svg);
        assert_eq!(heights[3], PLOT_HEIGHT, "cut");
        assert!(heights[1] > 0.9 * PLOT_HEIGHT, "{heights:?}");
        assert!(svg.contains(">72</text>"), "{svg}");
    }

    #[test]
    fn a_logarithmic_chart_draws_the_floor_as_well() {
        let heights = heights(&svg(&table(), Scale::Logarithm));
        assert_eq!(heights.len(), 5);
        assert!(heights.iter().all(|height| (0.0..=PLOT_HEIGHT).contains(height)), "{heights:?}");
    }
}

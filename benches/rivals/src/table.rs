//! What was measured: medians over rounds, as Markdown for people and JSON for programs.

use std::fmt::Write;

use serde::Serialize;

/// The name of the row that others are compared with.
pub const FLOOR: &str = "the floor";

/// A table of rivals.
#[derive(Debug, Serialize)]
pub struct Table {
    pub title: String,
    /// What was run, word by word.
    pub command: String,
    /// The unit of the figures, if all have one.
    pub unit: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    pub notes: Vec<String>,
}

/// One rival.
#[derive(Debug, Serialize)]
pub struct Row {
    pub rival: String,
    /// What it syncs per commit.
    pub syncs: String,
    /// One for each column, or none where the rival has no part in it.
    pub cells: Vec<Option<Cell>>,
    /// Why there is nothing, or not all.
    pub missing: Option<String>,
}

/// One figure of each round.
#[derive(Debug, Default, Serialize)]
pub struct Cell {
    pub median: f64,
    /// The median of the rounds' own ratios to the floor.
    pub ratio_to_floor: Option<f64>,
    pub rounds: Vec<f64>,
    pub ratios_of_rounds: Vec<f64>,
}

impl Cell {
    /// A cell from the figures of the rounds, and those of the floor in the same rounds.
    pub fn new(rounds: Vec<f64>, floors: Option<&[f64]>) -> Option<Cell> {
        let median = median(&rounds)?;
        let ratios_of_rounds: Vec<f64> = floors
            .map(|floors| rounds.iter().zip(floors).map(|(one, floor)| one / floor).collect())
            .unwrap_or_default();
        let ratio_to_floor = self::median(&ratios_of_rounds);
        Some(Cell { median, ratio_to_floor, rounds, ratios_of_rounds })
    }
}

/// The middle one of some figures, or the mean of the two in the middle.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        None
    } else if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

impl Table {
    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        let _ = writeln!(text, "\n    {}\n", self.command);
        let columns = self.columns.join(" | ");
        let _ = writeln!(text, "| {} | syncs per commit | {columns} |", self.head());
        let _ = writeln!(text, "|{}", " --- |".repeat(2 + self.columns.len()));
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(|cell| in_words(cell.as_ref())).collect();
            let cells = cells.join(" | ");
            let _ = writeln!(text, "| {} | {} | {cells} |", row.rival, row.syncs);
        }
        for row in &self.rows {
            if let Some(missing) = &row.missing {
                let _ = writeln!(text, "\n{}: {missing}", row.rival);
            }
        }
        text
    }

    fn head(&self) -> String {
        if self.unit.is_empty() { "rival".to_owned() } else { self.unit.clone() }
    }
}

fn in_words(cell: Option<&Cell>) -> String {
    match cell {
        None => "-".to_owned(),
        Some(cell) => match cell.ratio_to_floor {
            None => figure(cell.median),
            Some(ratio) => format!("{} ({ratio:.2})", figure(cell.median)),
        },
    }
}

/// A figure with as many digits as mean something, and its thousands apart.
pub fn figure(figure: f64) -> String {
    if figure.abs() < 100.0 {
        return if figure.abs() < 10.0 { format!("{figure:.2}") } else { format!("{figure:.1}") };
    }
    let digits = format!("{figure:.0}");
    let mut apart = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), Some(6.0));
    }

    #[test]
    fn a_ratio_is_made_in_each_round_before_its_median_is_taken() {
        let cell = Cell::new(vec![50.0, 90.0, 10.0], Some(&[100.0, 100.0, 10.0])).expect("rounds");
        assert_eq!(cell.median, 50.0);
        assert_eq!(cell.ratios_of_rounds, [0.5, 0.9, 1.0]);
        assert_eq!(cell.ratio_to_floor, Some(0.9));
        assert!(Cell::new(Vec::new(), None).is_none());
    }

    #[test]
    fn figures_have_as_many_digits_as_mean_something() {
        let figures = [0.0, 3.456, 56.78, 999.6, 4_849.2, 2_664_000.0].map(figure);
        assert_eq!(figures, ["0.00", "3.46", "56.8", "1,000", "4,849", "2,664,000"]);
    }

    #[test]
    fn a_table_says_its_command_and_why_a_rival_is_missing() {
        let row = |rival: &str, rounds: Vec<f64>, missing: Option<&str>| Row {
            rival: rival.to_owned(),
            syncs: "one".to_owned(),
            cells: vec![Cell::new(rounds, Some(&[2000.0]))],
            missing: missing.map(str::to_owned),
        };
        let table = Table {
            title: "Puts".to_owned(),
            command: "rivals put".to_owned(),
            unit: "events/s".to_owned(),
            columns: vec!["batch 1".to_owned()],
            rows: vec![row("a", vec![1500.0], None), row("b", vec![], Some("it is not here"))],
            notes: vec!["A note.".to_owned()],
        };
        let expected = "## Puts\n\nA note.\n\n    rivals put\n\n\
                        | events/s | syncs per commit | batch 1 |\n| --- | --- | --- |\n\
                        | a | one | 1,500 (0.75) |\n| b | one | - |\n\nb: it is not here\n";
        assert_eq!(table.markdown(), expected);
    }
}

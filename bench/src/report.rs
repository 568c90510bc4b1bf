//! What is told of a benchmark: a table for people, a line of JSON for programs.

use serde_json::{Map, Value, json};

/// The fields that every benchmark has, null where they make no sense for it.
const ALWAYS: [&str; 6] = ["per_second", "baseline_per_second", "ratio", "p50_ms", "p99_ms", "cpu_ms_each"];

/// What was measured in one run, by name.
pub type Run = Vec<(&'static str, Option<f64>)>;

/// A benchmark's result.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    runs: Vec<Map<String, Value>>,
    medians: Map<String, Value>,
}

impl Report {
    /// Of `runs`, which all measured the same.
    pub fn of(name: &'static str, runs: Vec<Run>) -> Self {
        let runs: Vec<Map<String, Value>> = runs.into_iter().map(with_ratios).collect();
        let mut medians: Map<String, Value> = ALWAYS.iter().map(|column| ((*column).to_owned(), Value::Null)).collect();
        for column in runs.first().into_iter().flat_map(Map::keys) {
            let values = runs.iter().filter_map(|run| run.get(column)?.as_f64()).collect();
            medians.insert(column.clone(), median(values).map_or(Value::Null, rounded));
        }
        insert_ratios(&mut medians);
        Self { name, runs, medians }
    }

    /// Replaces the baseline by one measured elsewhere.
    pub fn against(mut self, baseline_per_second: Option<f64>) -> Self {
        if let Some(baseline) = baseline_per_second {
            self.medians.insert("baseline_per_second".into(), rounded(baseline));
            insert_ratios(&mut self.medians);
        }
        self
    }

    /// One line of JSON on stdout and the table on stderr, or just the table on stdout.
    pub fn print(&self, as_json: bool) {
        if as_json {
            eprint!("{}", self.table());
            println!("{}", self.json());
        } else {
            print!("{}", self.table());
        }
    }

    fn json(&self) -> Value {
        let mut line = Map::from_iter([("name".to_owned(), json!(self.name))]);
        line.extend(self.medians.clone());
        line.insert("runs".to_owned(), json!(self.runs));
        Value::Object(line)
    }

    fn table(&self) -> String {
        let mut table = row(self.name, &right("median"), (1..=self.runs.len()).map(|nth| right(&format!("run {nth}"))));
        for (column, median) in self.medians.iter().filter(|(_, median)| !median.is_null()) {
            let cells = self.runs.iter().map(|run| cell(run.get(column)));
            table += &row(column, &cell(Some(median)), cells);
        }
        table
    }
}

fn row(head: &str, median: &str, cells: impl Iterator<Item = String>) -> String {
    format!("{head:<28}{median}{}\n", cells.collect::<String>())
}

fn cell(value: Option<&Value>) -> String {
    match value.and_then(Value::as_f64) {
        None => right("-"),
        Some(value) if value.abs() >= 1_000.0 => right(&format!("{value:.0}")),
        Some(value) => right(&format!("{value:.3}")),
    }
}

fn right(text: &str) -> String {
    format!("{text:>12}")
}

fn with_ratios(run: Run) -> Map<String, Value> {
    let mut fields = run.into_iter().map(|(name, value)| (name.to_owned(), value.map_or(Value::Null, rounded))).collect();
    insert_ratios(&mut fields);
    fields
}

/// A ratio for each baseline that was measured: `ratio`, and `x_ratio` for `x_baseline_per_second`.
fn insert_ratios(fields: &mut Map<String, Value>) {
    let Some(ours) = fields.get("per_second").and_then(Value::as_f64) else { return };
    let baselines: Vec<(String, f64)> = fields
        .iter()
        .filter_map(|(name, value)| Some((format!("{}ratio", name.strip_suffix("baseline_per_second")?), value.as_f64()?)))
        .collect();
    for (ratio, baseline) in baselines {
        fields.insert(ratio, rounded(ours / baseline));
    }
}

/// Three decimals are more than can be measured.
fn rounded(value: f64) -> Value {
    json!((value * 1_000.0).round() / 1_000.0)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 { Some(upper) } else { values.get(values.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_the_ratios_of_medians_are_told() {
        let run = |ours, theirs, gap_free| -> Run {
            vec![("per_second", Some(ours)), ("baseline_per_second", Some(theirs)), ("gap_free_baseline_per_second", Some(gap_free))]
        };
        let line = Report::of("x", vec![run(30.0, 10.0, 1.0), run(20.0, 5.0, 2.0), run(10.0, 1.0, 3.0)]).json();
        let expected = json!({
            "name": "x", "per_second": 20.0, "baseline_per_second": 5.0, "ratio": 4.0, "p50_ms": null, "p99_ms": null, "cpu_ms_each": null,
            "gap_free_baseline_per_second": 2.0, "gap_free_ratio": 10.0,
        });
        let Value::Object(mut line) = line else { panic!("no object") };
        assert_eq!(line.remove("runs").unwrap()[0]["ratio"], 3.0);
        assert_eq!(Value::Object(line), expected);
    }

    #[test]
    fn a_baseline_may_come_from_elsewhere() {
        let report = Report::of("x", vec![vec![("per_second", Some(700.0))], vec![("per_second", Some(900.0))]]).against(Some(8.0));
        assert_eq!(report.json()["ratio"], 100.0);
    }
}

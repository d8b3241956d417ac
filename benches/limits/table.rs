//! What was measured, as a table.

use crate::process::Cost;

/// The figures of one kind of work, one of each run.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Vec<f64>,
    /// CPU of the server, and of its store, for each unit of work.
    pub(crate) cpu: Vec<f64>,
    pub(crate) store_cpu: Vec<f64>,
    /// Median latencies, and the 99th in a hundred.
    pub(crate) latencies: Vec<(f64, f64)>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds a run that did `figure` a second, and `units` of work in all.
    pub(crate) fn add(&mut self, figure: f64, cost: Cost, units: f64) {
        self.figures.push(figure);
        self.cpu.push(cost.cpu / units);
        self.store_cpu.push(cost.store_cpu / units);
    }
}

/// Prints rows below the first, which is their limit. A row's ratio is the median of the runs' ratios: each run stands
/// beside its limit of the same minute.
pub(crate) fn print(title: &str, cpu: &str, rows: &[&Row]) {
    println!("\n{title:<34}{:>9}{:>19}{:>9}{cpu:>15}{:>9}", "median", "min–max", "× limit", "+ Redis");
    for row in rows {
        let (min, max) = row.figures.iter().fold((f64::MAX, 0.0_f64), |(min, max), &f| (min.min(f), max.max(f)));
        let ratios: Vec<f64> = row.figures.iter().zip(&rows[0].figures).map(|(figure, limit)| figure / limit).collect();
        let range = format!("{min:.0}–{max:.0}");
        print!("{:<34}{:>9.0}{range:>19}{:>9.2}", row.name, median(&row.figures), median(&ratios));
        if !row.cpu.is_empty() {
            print!("{:>15.2}{:>9.2}", median(&row.cpu), median(&row.store_cpu));
        }
        if !row.latencies.is_empty() {
            let column = |pick: fn(&(f64, f64)) -> f64| median(&row.latencies.iter().map(pick).collect::<Vec<_>>());
            print!("   p50 {:.1} ms, p99 {:.1} ms", column(|l| l.0), column(|l| l.1));
        }
        println!();
    }
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

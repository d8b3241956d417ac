//! What was measured, as tables, each figure with its target.

use std::fmt;

use crate::process::Cost;

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

use Target::{AtLeast, AtMost};

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            AtLeast(bound) => figure >= bound,
            AtMost(bound) => figure <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtLeast(bound) => write!(f, "≥ {bound}"),
            AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// The figures of one kind of work, one of each run.
#[derive(Default)]
pub(crate) struct Row {
    name: String,
    pub(crate) figures: Vec<f64>,
    /// CPU of the server, and of its store, for each unit of work.
    pub(crate) cpu: Vec<f64>,
    store_cpu: Vec<f64>,
    /// The most memory that the server held, in MiB.
    peaks: Vec<f64>,
    /// Median latencies in milliseconds, and the 99th in a hundred.
    pub(crate) latencies: Vec<(f64, f64)>,
    /// Of the ratio to the table's first row.
    target: Option<Target>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// A row that has to come so near to its limit.
    pub(crate) fn at_least(name: &str, ratio: f64) -> Self {
        Self { target: Some(AtLeast(ratio)), ..Self::new(name) }
    }

    /// Adds a run that did `figure` a second, and `units` of work in all.
    pub(crate) fn add(&mut self, figure: f64, cost: Cost, units: f64) {
        self.figures.push(figure);
        self.cpu.push(cost.cpu / units);
        self.store_cpu.push(cost.store_cpu / units);
        self.peaks.push(cost.peak);
    }

    /// Each run's figure by that of the limit in the same run: both saw the same minute of the machine.
    fn ratios(&self, limit: &Self) -> Vec<f64> {
        ratios(&self.figures, &limit.figures)
    }
}

/// Prints, and keeps account of what missed its target.
#[derive(Default)]
pub(crate) struct Report {
    met: usize,
    missed: Vec<String>,
}

impl Report {
    /// Prints rows below the first, which is their limit. A row's ratio is the median of the runs' ratios.
    pub(crate) fn table(&mut self, title: &str, cpu: &str, rows: &[&Row]) {
        println!(
            "\n{title:<38}{:>9}{:>17}{:>9}{cpu:>16}{:>9}{:>10}",
            "median", "min–max", "× limit", "+ Redis", "peak MiB"
        );
        for row in rows {
            let ratio = median(&row.ratios(rows[0]));
            print!("{:<38}{:>9}{:>17}{ratio:>9.2}", row.name, short(median(&row.figures)), range(&row.figures));
            if row.cpu.is_empty() {
                print!("{:35}", "");
            } else {
                print!("{:>16.3}{:>9.3}{:>10.1}", median(&row.cpu), median(&row.store_cpu), median(&row.peaks));
            }
            if !row.latencies.is_empty() {
                let column = |pick: fn(&(f64, f64)) -> f64| median(&row.latencies.iter().map(pick).collect::<Vec<_>>());
                print!("   p50 {} ms, p99 {} ms", short(column(|l| l.0)), short(column(|l| l.1)));
            }
            println!("{}", self.judge(row.target, ratio, &format!("{title}: {}", row.name)));
        }
    }

    /// Prints one figure, the median of its runs.
    pub(crate) fn figure(&mut self, name: &str, unit: &str, figures: &[f64], target: Option<Target>) {
        let middle = median(figures);
        let spread = if figures.len() > 1 { range(figures) } else { String::new() };
        print!("{name:<64}{:>9} {unit:<6}{spread:>17}", short(middle));
        println!("{}", self.judge(target, middle, name));
    }

    fn judge(&mut self, target: Option<Target>, figure: f64, name: &str) -> String {
        let Some(target) = target else { return String::new() };
        if target.is_met(figure) {
            self.met += 1;
            format!("   {target}: met")
        } else {
            self.missed.push(format!("{name}: {} instead of {target}", short(figure)));
            format!("   {target}: MISSED")
        }
    }

    /// Says in the end what all of it came to.
    pub(crate) fn close(self) {
        println!("\ntargets: {} met, {} missed", self.met, self.missed.len());
        self.missed.iter().for_each(|missed| println!("  {missed}"));
    }
}

/// Each run's figure by the other's of the same run.
pub(crate) fn ratios(figures: &[f64], limits: &[f64]) -> Vec<f64> {
    figures.iter().zip(limits).map(|(figure, limit)| figure / limit).collect()
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn range(figures: &[f64]) -> String {
    let (min, max) = figures.iter().fold((f64::MAX, f64::MIN), |(min, max), &f| (min.min(f), max.max(f)));
    format!("{}–{}", short(min), short(max))
}

/// Three digits that say something.
fn short(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

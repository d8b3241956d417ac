//! A run in figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::checker::Finding;
use super::clients::PROBE;
use super::log::{Deed, Op, Outcome};
use super::run;

/// A table of what was asked, what went wrong and what was found.
pub fn report(settings: &run::Settings, outcome: &run::Outcome) -> String {
    let mut text = format!(
        "seed {}, {:?}, {} shares, {} s: {}\n",
        settings.seed,
        settings.shape,
        settings.shares,
        settings.time.as_secs(),
        outcome.path.display()
    );
    let _ = writeln!(text, "{:<10}{:>9}{:>14}{:>9}{:>9}", "", "asked", "acknowledged", "refused", "unknown");
    for (deed, counts) in counts(&outcome.ops) {
        let asked: usize = counts.iter().sum();
        let _ = writeln!(text, "{deed:<10}{asked:>9}{:>14}{:>9}{:>9}", counts[0], counts[1], counts[2]);
    }
    let _ = writeln!(text, "{:>6}  {:>15}  fault", "at", "without service");
    for (index, (at, fault)) in outcome.faults.iter().enumerate() {
        let until = outcome.faults.get(index + 1).map_or(u64::MAX, |(at, _)| *at);
        let gap = longest_gap(&outcome.ops, *at, until);
        let _ = writeln!(text, "{:>4} s  {:>12.1} s  {fault}", at / 1000, gap as f64 / 1000.0);
    }
    let _ = writeln!(text, "{} calls, {} faults; shares {}", outcome.ops.len(), outcome.faults.len(), found(outcome));
    text
}

/// The findings, one a line.
pub fn findings(outcome: &run::Outcome) -> String {
    outcome.found.iter().map(|found| format!("{:?} {}: {}\n", found.finding, found.share, found.why)).collect()
}

fn found(outcome: &run::Outcome) -> String {
    let named = [
        (Finding::Doubled, "granted twice"),
        (Finding::Lost, "lost"),
        (Finding::GrantLost, "with a grant lost"),
        (Finding::WrongBytes, "with wrong bytes"),
        (Finding::Revived, "granted after revocation"),
        (Finding::FinishLost, "with a finish lost"),
        (Finding::Spent, "with a budget spent"),
    ];
    let count = |is_it: &dyn Fn(&Finding) -> bool| {
        let found = outcome.found.iter().filter(|found| is_it(&found.finding));
        found.map(|found| &found.share).collect::<BTreeSet<_>>().len()
    };
    let named = named.iter().map(|(finding, name)| format!("{name}: {}", count(&|found| found == finding)));
    let strange = count(&|found| matches!(found, Finding::Strange(_)));
    named.chain([format!("with strange answers: {strange}")]).collect::<Vec<_>>().join(", ")
}

fn counts(ops: &[Op]) -> BTreeMap<&'static str, [usize; 3]> {
    let mut counts = BTreeMap::new();
    for op in ops {
        let name = match op.deed {
            Deed::Upload => "upload",
            Deed::Publish { .. } => "publish",
            Deed::Claim { .. } => "claim",
            Deed::Read { .. } => "read",
            Deed::Finish { .. } => "finish",
            Deed::Revoke => "revoke",
            Deed::Receipt { .. } => "receipt",
        };
        let counts: &mut [usize; 3] = counts.entry(name).or_default();
        counts[match op.outcome {
            Outcome::Ok => 0,
            Outcome::Refused => 1,
            Outcome::Unknown => 2,
        }] += 1;
    }
    counts
}

/// The longest time between two claims of the probe that were granted, as far as it falls into `at..until`. In milliseconds.
fn longest_gap(ops: &[Op], at: u64, until: u64) -> u64 {
    let granted = |op: &&Op| op.client == PROBE && op.outcome == Outcome::Ok && matches!(op.deed, Deed::Claim { .. });
    let times: Vec<u64> = ops.iter().filter(granted).map(|op| op.ended).collect();
    times.windows(2).map(|pair| pair[1].min(until).saturating_sub(pair[0].max(at))).max().unwrap_or(0)
}

//! Reads a history and tells what must never happen. Pure: it knows neither processes nor time of its own.
//!
//! What became of a call without an answer nobody knows: it counts as done or as not done, whichever explains the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Deed, Op, Outcome};

/// Something that breaks a promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// More claims were granted than downloads allowed.
    Doubled,
    /// A share whose publishing was acknowledged could not be claimed, and nothing that others did explains it.
    Lost,
    /// A claim was granted, and later it was not known or its bytes were not there.
    GrantLost,
    /// A claim was served twice its size, and what is left may not be read: interruptions have a limit.
    Spent,
    /// What was read is not what was sent.
    WrongBytes,
    /// A claim was granted after the sender was told that the share is withdrawn.
    Revived,
    /// A finish was acknowledged, and the sender is shown fewer.
    FinishLost,
    /// An answer that no client should ever get.
    Strange(u16),
}

/// A finding, the share it is about, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub finding: Finding,
    pub share: String,
    pub why: String,
}

/// Everything in `ops` that breaks a promise.
pub fn check(ops: &[Op]) -> Vec<Found> {
    let mut shares: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        shares.entry(&op.share).or_default().push(op);
    }
    shares.into_iter().flat_map(|(id, ops)| Share::of(&ops).findings().map(move |found| found.about(id))).collect()
}

type Why = (Finding, String);

trait About {
    fn about(self, share: &str) -> Found;
}

impl About for Why {
    fn about(self, share: &str) -> Found {
        Found { finding: self.0, share: share.to_owned(), why: self.1 }
    }
}

/// The history of one share.
struct Share<'a> {
    ops: &'a [&'a Op],
    downloads: usize,
    sum: Option<&'a str>,
    /// When its publishing was first acknowledged.
    published: Option<u64>,
}

impl<'a> Share<'a> {
    fn of(ops: &'a [&'a Op]) -> Self {
        let terms = ops.iter().find_map(|op| match &op.deed {
            Deed::Publish { downloads, sum } => Some((*downloads, &**sum)),
            _ => None,
        });
        let acknowledged = |op: &&&Op| matches!(op.deed, Deed::Publish { .. }) && op.outcome == Outcome::Ok;
        Self {
            ops,
            downloads: terms.map_or(usize::MAX, |(downloads, _)| downloads),
            sum: terms.map(|(_, sum)| sum),
            published: ops.iter().filter(acknowledged).map(|op| op.ended).min(),
        }
    }

    fn findings(&self) -> impl Iterator<Item = Why> + use<> {
        let found = [self.doubled(), self.revived()].into_iter().flatten();
        let each = self.ops.iter().filter_map(|op| match &op.deed {
            _ if [400, 403, 500, 507].contains(&op.status) => {
                Some((Finding::Strange(op.status), format!("{:?}: {}", op.deed, op.note)))
            }
            Deed::Claim { token } if op.outcome == Outcome::Refused => self.refused(op, token),
            Deed::Read { token, .. } | Deed::Finish { token } if op.outcome == Outcome::Refused => {
                self.unknown(op, token)
            }
            Deed::Read { token, sum: Some(sum) } if op.outcome == Outcome::Ok => self.read(token, sum),
            Deed::Receipt { claims, finished } if op.outcome == Outcome::Ok => self.shown(op, *claims, *finished),
            Deed::Receipt { .. }
                if op.outcome == Outcome::Refused && self.published.is_some_and(|at| at < op.began) =>
            {
                Some((Finding::Lost, format!("no receipt at {}: {}", op.ended, op.status)))
            }
            _ => None,
        });
        found.chain(each).collect::<Vec<_>>().into_iter()
    }

    /// The tokens that were granted, or may have been, by a call that began before `until`.
    fn tokens(&self, until: u64, may_have_been: bool) -> BTreeSet<&str> {
        let counts = |op: &Op| match op.outcome {
            Outcome::Ok => true,
            Outcome::Unknown => may_have_been,
            Outcome::Refused => false,
        };
        let granted = self.ops.iter().filter(|op| op.began < until && counts(op));
        granted.filter_map(|op| if let Deed::Claim { token } = &op.deed { Some(&**token) } else { None }).collect()
    }

    fn doubled(&self) -> Option<Why> {
        let granted = self.tokens(u64::MAX, false);
        let doubled = granted.len() > self.downloads;
        doubled.then(|| (Finding::Doubled, format!("{} downloads, granted to {granted:?}", self.downloads)))
    }

    fn revived(&self) -> Option<Why> {
        let revoked = |op: &&&Op| op.deed == Deed::Revoke && op.outcome == Outcome::Ok;
        let revoked = self.ops.iter().filter(revoked).map(|op| op.ended).min()?;
        // A call that was under way may have come first; one that began later may repeat what was granted before.
        let before = self.tokens(revoked, true);
        let late = self.tokens(u64::MAX, false).into_iter().find(|token| !before.contains(token))?;
        Some((Finding::Revived, format!("revoked at {revoked}, then granted to {late}")))
    }

    /// A claim that was refused: others have taken the share, or it was withdrawn, or this very claim is over.
    fn refused(&self, op: &Op, token: &str) -> Option<Why> {
        self.published.filter(|at| *at < op.began)?;
        if self.may_be(op, |deed| *deed == Deed::Finish { token: token.to_owned() }) {
            return None;
        }
        let why = format!("claim {token} refused at {} with {} {}", op.ended, op.status, op.note);
        if self.was_granted(op, token) {
            return Some((Finding::GrantLost, why));
        }
        let mut others = self.tokens(op.ended, true);
        others.remove(token);
        let explained = others.len() >= self.downloads || self.may_be(op, |deed| *deed == Deed::Revoke);
        (!explained).then_some((Finding::Lost, why))
    }

    /// A read or a finish that was refused: the claim was never granted, or is over.
    fn unknown(&self, op: &Op, token: &str) -> Option<Why> {
        if op.status == 429 {
            return Some((Finding::Spent, format!("the budget of {token} is spent at {}", op.ended)));
        }
        let over = self.may_be(op, |deed| *deed == Deed::Finish { token: token.to_owned() });
        let lost = self.was_granted(op, token) && !over;
        lost.then(|| (Finding::GrantLost, format!("{:?} refused at {} with {}", op.deed, op.ended, op.status)))
    }

    fn read(&self, token: &str, sum: &str) -> Option<Why> {
        let wrong = self.sum.is_some_and(|sent| sent != sum);
        wrong.then(|| (Finding::WrongBytes, format!("{token} read {sum}")))
    }

    fn shown(&self, op: &Op, claims: usize, finished: usize) -> Option<Why> {
        if claims > self.downloads {
            return Some((Finding::Doubled, format!("the receipt shows {claims} claims")));
        }
        let granted = |before: &Op| matches!(before.deed, Deed::Claim { .. });
        let granted = self.done_before(op, granted);
        if claims < granted {
            return Some((Finding::GrantLost, format!("{granted} claims granted, the receipt shows {claims}")));
        }
        let acknowledged = self.done_before(op, |before| matches!(before.deed, Deed::Finish { .. }));
        (finished < acknowledged)
            .then(|| (Finding::FinishLost, format!("{acknowledged} claims finished, the receipt shows {finished}")))
    }

    /// Of how many claims it was acknowledged before `op` began.
    fn done_before(&self, op: &Op, is_it: impl Fn(&Op) -> bool) -> usize {
        let done = self.ops.iter().filter(|done| done.outcome == Outcome::Ok && done.ended <= op.began && is_it(done));
        let tokens = done.filter_map(|done| match &done.deed {
            Deed::Claim { token } | Deed::Finish { token } => Some(token),
            _ => None,
        });
        tokens.collect::<BTreeSet<_>>().len()
    }

    fn was_granted(&self, op: &Op, token: &str) -> bool {
        self.done_before(op, |done| matches!(&done.deed, Deed::Claim { token: granted } if granted == token)) > 0
    }

    /// Whether such a deed may have been done before `op` was answered.
    fn may_be(&self, op: &Op, is_it: impl Fn(&Deed) -> bool) -> bool {
        self.ops.iter().any(|other| other.began < op.ended && other.outcome != Outcome::Refused && is_it(&other.deed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: &str = "a share";

    fn op(began: u64, ended: u64, deed: Deed, outcome: Outcome) -> Op {
        let status = match outcome {
            Outcome::Ok => 200,
            Outcome::Refused => 410,
            Outcome::Unknown => 503,
        };
        Op { began, ended, client: 0, web: 0, share: SHARE.to_owned(), deed, outcome, status, note: String::new() }
    }

    fn publish(began: u64, downloads: usize, outcome: Outcome) -> Op {
        op(began, began + 10, Deed::Publish { downloads, sum: "right".to_owned() }, outcome)
    }

    fn claim(began: u64, token: &str, outcome: Outcome) -> Op {
        op(began, began + 10, Deed::Claim { token: token.to_owned() }, outcome)
    }

    fn read(began: u64, token: &str, sum: Option<&str>, outcome: Outcome) -> Op {
        op(began, began + 10, Deed::Read { token: token.to_owned(), sum: sum.map(str::to_owned) }, outcome)
    }

    fn finish(began: u64, token: &str, outcome: Outcome) -> Op {
        op(began, began + 10, Deed::Finish { token: token.to_owned() }, outcome)
    }

    fn receipt(began: u64, claims: usize, finished: usize) -> Op {
        op(began, began + 10, Deed::Receipt { claims, finished }, Outcome::Ok)
    }

    #[track_caller]
    fn assert_finds(ops: &[Op], finding: Option<Finding>) {
        let found = check(ops);
        assert_eq!(
            found.iter().map(|found| found.finding.clone()).collect::<Vec<_>>(),
            Vec::from_iter(finding),
            "{found:?}"
        );
    }

    use Outcome::{Ok, Refused, Unknown};

    #[test]
    fn a_planted_double_claim_is_found() {
        let once = [publish(0, 1, Ok), claim(20, "a", Ok), claim(40, "b", Refused)];
        assert_finds(&once, None);
        let twice = [&once[..], &[claim(60, "c", Ok)]].concat();
        assert_finds(&twice, Some(Finding::Doubled));
        // Whether its publishing was acknowledged is no matter, nor which of them came first.
        assert_finds(&[claim(60, "a", Ok), claim(20, "b", Ok), publish(0, 1, Unknown)], Some(Finding::Doubled));
    }

    #[test]
    fn as_many_claims_as_downloads_are_no_double() {
        let ops = [publish(0, 2, Ok), claim(20, "a", Ok), claim(20, "b", Ok), claim(40, "c", Refused)];
        assert_finds(&ops, None);
        assert_finds(&[&ops[..], &[claim(60, "d", Ok)]].concat(), Some(Finding::Doubled));
    }

    #[test]
    fn the_same_claim_granted_again_is_no_double() {
        let ops = [publish(0, 1, Ok), claim(20, "a", Unknown), claim(40, "a", Ok), claim(60, "a", Ok)];
        assert_finds(&ops, None);
    }

    #[test]
    fn a_claim_without_an_answer_is_neither_a_double_nor_a_loss() {
        let ops = [publish(0, 1, Ok), claim(20, "a", Unknown), claim(40, "b", Ok)];
        assert_finds(&ops, None);
        let ops = [publish(0, 1, Ok), claim(20, "a", Unknown), claim(40, "b", Refused)];
        assert_finds(&ops, None);
    }

    #[test]
    fn a_planted_loss_is_found() {
        assert_finds(&[publish(0, 1, Ok), claim(20, "a", Refused)], Some(Finding::Lost));
        // Somebody who came later can't explain it.
        let ops = [publish(0, 1, Ok), claim(20, "a", Refused), claim(40, "b", Unknown)];
        assert_finds(&ops, Some(Finding::Lost));
        // One of two downloads is left.
        let ops = [publish(0, 2, Ok), claim(20, "a", Ok), claim(40, "b", Refused)];
        assert_finds(&ops, Some(Finding::Lost));
    }

    #[test]
    fn a_share_whose_publishing_was_not_acknowledged_may_be_gone() {
        assert_finds(&[publish(0, 1, Unknown), claim(20, "a", Refused)], None);
        assert_finds(&[publish(0, 1, Ok), claim(5, "a", Refused)], None);
        // It was there all the same, as one repeat told: from then on it counts.
        let ops = [publish(0, 1, Unknown), claim(20, "a", Refused), publish(40, 1, Ok), claim(60, "b", Refused)];
        assert_finds(&ops, Some(Finding::Lost));
    }

    #[test]
    fn a_rival_that_asks_at_the_same_time_explains_a_refusal() {
        let ops = [publish(0, 1, Ok), claim(25, "b", Ok), claim(20, "a", Refused)];
        assert_finds(&ops, None);
    }

    #[test]
    fn a_share_that_may_be_withdrawn_is_not_lost() {
        for outcome in [Ok, Unknown] {
            let ops = [publish(0, 1, Ok), op(20, 30, Deed::Revoke, outcome), claim(40, "a", Refused)];
            assert_finds(&ops, None);
        }
        let ops = [publish(0, 1, Ok), op(20, 30, Deed::Revoke, Refused), claim(40, "a", Refused)];
        assert_finds(&ops, Some(Finding::Lost));
    }

    #[test]
    fn a_claim_after_an_acknowledged_revocation_is_found() {
        let ops = [publish(0, 1, Ok), op(20, 30, Deed::Revoke, Ok), claim(40, "a", Ok)];
        assert_finds(&ops, Some(Finding::Revived));
        let ops = [publish(0, 2, Ok), claim(12, "a", Unknown), op(20, 30, Deed::Revoke, Ok), claim(40, "a", Ok)];
        assert_finds(&ops, None);
    }

    #[test]
    fn a_grant_that_is_not_known_any_more_is_found() {
        let granted = [publish(0, 1, Ok), claim(20, "a", Ok)];
        let with = |op: Op| [&granted[..], &[op]].concat();
        assert_finds(&with(claim(40, "a", Refused)), Some(Finding::GrantLost));
        assert_finds(&with(read(40, "a", None, Refused)), Some(Finding::GrantLost));
        assert_finds(&with(finish(40, "a", Refused)), Some(Finding::GrantLost));
        assert_finds(&with(receipt(40, 0, 0)), Some(Finding::GrantLost));
        assert_finds(&with(read(40, "b", None, Refused)), None);
    }

    #[test]
    fn a_claim_that_is_over_may_be_refused() {
        for outcome in [Ok, Unknown] {
            let ops = [publish(0, 1, Ok), claim(20, "a", Ok), finish(40, "a", outcome)];
            for op in [claim(60, "a", Refused), read(60, "a", None, Refused)] {
                assert_finds(&[&ops[..], &[op]].concat(), None);
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found() {
        let granted = [publish(0, 1, Ok), claim(20, "a", Ok)];
        let with = |op: Op| [&granted[..], &[op]].concat();
        assert_finds(&with(read(40, "a", Some("right"), Ok)), None);
        assert_finds(&with(read(40, "a", None, Unknown)), None);
        assert_finds(&with(read(40, "a", Some("wrong"), Ok)), Some(Finding::WrongBytes));
    }

    #[test]
    fn a_receipt_that_contradicts_a_finish_is_found() {
        let ops = [publish(0, 1, Ok), claim(20, "a", Ok), finish(40, "a", Ok)];
        assert_finds(&[&ops[..], &[receipt(60, 1, 1)]].concat(), None);
        assert_finds(&[&ops[..], &[receipt(60, 1, 0)]].concat(), Some(Finding::FinishLost));
        assert_finds(&[&ops[..], &[receipt(45, 1, 0)]].concat(), None);
        let unknown = [publish(0, 1, Ok), claim(20, "a", Ok), finish(40, "a", Unknown)];
        assert_finds(&[&unknown[..], &[receipt(60, 1, 0)]].concat(), None);
    }

    #[test]
    fn a_receipt_that_shows_too_many_claims_is_found() {
        let ops = [publish(0, 1, Ok), claim(20, "a", Ok), claim(40, "b", Unknown), receipt(60, 2, 0)];
        assert_finds(&ops, Some(Finding::Doubled));
    }

    #[test]
    fn an_answer_that_nobody_should_get_is_found() {
        let broken = Op { status: 500, ..read(40, "a", None, Unknown) };
        assert_finds(&[publish(0, 1, Ok), claim(20, "a", Ok), broken], Some(Finding::Strange(500)));
    }

    #[test]
    fn a_budget_that_is_spent_is_told_apart() {
        let spent = Op { status: 429, ..read(40, "a", None, Refused) };
        assert_finds(&[publish(0, 1, Ok), claim(20, "a", Ok), spent], Some(Finding::Spent));
    }

    #[test]
    fn shares_are_looked_at_apart() {
        let other = |op: Op| Op { share: "another".to_owned(), ..op };
        let ops = [publish(0, 1, Ok), other(publish(0, 1, Ok)), claim(20, "a", Ok), other(claim(20, "b", Ok))];
        assert_finds(&ops, None);
    }
}

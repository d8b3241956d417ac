use super::*;
use crate::share::{State as ShareState, Timestamp};

fn every_error() -> Vec<Error> {
    use ledger::Error as Ledger;
    let of_ledger = [
        Ledger::Unknown,
        Ledger::Ended(Ended { state: ShareState::Claimed, at: Timestamp(0) }),
        Ledger::WrongProof,
        Ledger::Locked(Duration::ZERO),
        Ledger::Conflict(7),
        Ledger::Published,
        Ledger::Claimed,
        Ledger::BudgetSpent,
        Ledger::Full,
        Ledger::Unavailable("why".into()),
        Ledger::Unacknowledged { by: 1, of: 2 },
    ];
    let mut errors = vec![
        Error::BadRequest("what".into()),
        Error::BadForm("form.empty", vec![]),
        Error::BadForm("form.file_name", vec![]),
        Error::BadForm("form.malformed", vec![]),
        Error::BadForm("form.password_late", vec![]),
        Error::BadForm("form.unreadable", vec![]),
        Error::BadForm("form.parts", vec![("most", "1".into())]),
        Error::BadForm("form.too_long", vec![("name", "a".into()), ("most", "1".into())]),
        Error::BadForm("form.number", vec![("name", "a".into()), ("least", "1".into()), ("most", "1".into())]),
        Error::BadForm("address.malformed", vec![]),
        Error::NotFound,
        Error::Unauthorized,
        Error::CrossSite,
        Error::MethodNotAllowed,
        Error::Timeout,
        Error::MediaType("text/plain"),
        Error::Range(7),
        Error::UploadRate(Duration::ZERO),
        Error::Checksum,
        Error::TusVersion,
        Error::Busy,
        Error::CutOff,
        Error::Internal,
        Error::Store(store::Error::TooLarge),
        Error::Store(store::Error::ManifestTooLong),
        Error::Store(store::Error::Missing),
    ];
    errors.extend(of_ledger.map(Error::from));
    errors
}

#[test]
fn every_error_has_its_texts_in_every_language() {
    let mut said = std::collections::BTreeSet::new();
    for problem in every_error().into_iter().map(Error::problem) {
        for lang in Lang::ALL {
            for text in [problem.title(lang), &problem.happened(lang), problem.advice(lang)] {
                assert!(!text.is_empty() && !text.contains('{'), "{lang}: {}: {text}", problem.code);
            }
        }
        said.insert(format!("problem.{}.", problem.text));
        said.extend(problem.happened.map(|happened| format!("problem.{happened}")));
    }
    let texts: std::collections::BTreeMap<String, String> = serde_json::from_str(Lang::En.file()).unwrap();
    for key in texts.keys().filter(|key| key.starts_with("problem.") && *key != "problem.home") {
        assert!(said.iter().any(|stem| key.starts_with(stem)), "no error says {key}");
    }
}

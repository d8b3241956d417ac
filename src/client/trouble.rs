//! What went wrong with a request, in the server's words where it has any, and whether it passes.

use std::time::Duration;

use serde::Deserialize;

use super::failure::{Exit, Failure};

/// What fails again and again does not recover by being asked: a defect, or a proxy that refuses.
pub(super) const TRIES: u32 = 8;

/// Why a request has no answer that helps.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// Nothing came back, or not all of it.
    Unreachable(String),
    /// The server, or something before it, refused.
    Refused(Problem),
}

impl Trouble {
    /// What the server says of a wrong password, where it is not asked.
    pub(super) fn wrong_password() -> Self {
        Self::Refused(Problem { status: 403, code: Some("wrong_proof".into()), ..Problem::default() })
    }

    /// Whether it is the server's own word, and no other will come.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(Problem { status: 400..500, code: Some(_), .. })) && !self.passes(0)
    }

    /// Whether the same request may succeed later.
    pub(super) fn passes(&self, failures: u32) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(problem) => match problem.status {
                // Wrong passwords are no trouble that passes: whoever types them is told.
                429 => problem.retry_after.is_some() && problem.code.as_deref() != Some("too_many_attempts"),
                408 | 423 | 425 => true,
                501 | 505 | 507 | 511 => false,
                502.. => true,
                500 => failures < TRIES,
                _ => problem.code.is_none() && failures < TRIES,
            },
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(why) => Self::new(Exit::Network, why),
            Trouble::Refused(problem) => problem.into(),
        }
    }
}

/// RFC 9457, as the server writes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) status: u16,
    /// Stable; missing where something between refused.
    pub(super) code: Option<String>,
    pub(super) detail: Option<String>,
    /// What a share that is gone came to, and when.
    reason: Option<String>,
    at: Option<String>,
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let detail = problem.detail.unwrap_or_else(|| format!("the server answers {}", problem.status));
        match problem.code.as_deref() {
            Some("gone") => {
                let at = problem.at.map_or(String::new(), |at| format!(" at {at}"));
                Self::new(
                    Exit::Gone,
                    match problem.reason.as_deref() {
                        Some("claimed" | "finished") => {
                            format!("gone: somebody took it{at}; if that was not you, tell the sender")
                        }
                        Some("lapsed") => {
                            format!("gone: somebody began to take it, and stopped{at}; ask the sender for it again")
                        }
                        Some("revoked") => format!("gone: the sender withdrew it{at}"),
                        Some("expired") => format!("gone: it waited until then{at}; ask the sender for it again"),
                        _ => detail,
                    },
                )
            }
            Some("not_found") => Self::new(
                Exit::Gone,
                "nothing is there: it is gone, or the link is not complete; copy it once more, or ask whoever gave it to you",
            ),
            Some("wrong_proof") => Self::new(Exit::Password, "that password is wrong"),
            Some("too_many_attempts") => {
                let wait = problem.retry_after.map_or(60, |after| after.as_secs());
                Self::new(Exit::Password, format_args!("too many wrong passwords were tried: try again in {wait} s"))
            }
            Some("budget_spent") => Self::new(
                Exit::Gone,
                "so much of it was sent again that the server stops here: ask the sender for it again",
            ),
            Some("too_large") => Self::new(Exit::Full, "that is more than the server takes: send less at once"),
            Some("store_full") => Self::new(Exit::Full, detail),
            Some("claimed") => Self::new(Exit::Gone, detail),
            Some("offset_conflict") => Self::other("the server is still busy with what came before"),
            None => Self::new(Exit::Network, detail),
            Some(_) if problem.status >= 500 => Self::new(Exit::Network, detail),
            Some("upload_rate" | "published" | "timeout") => Self::other(detail),
            Some(_) => Self::other("the server does not understand this program: one of the two is too old"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_programs_are_not_shown_to_people() {
        for code in ["bad_request", "offset_conflict", "too_large", "budget_spent", "unsupported_version", "nonsense"] {
            let detail = Some("Ask with HEAD, or GET /api/v1/config.".to_owned());
            let problem = Problem { status: 409, code: Some(code.to_owned()), detail, ..Problem::default() };
            let said = Failure::from(problem).to_string();
            assert!(!said.contains("HEAD") && !said.contains("/api/"), "{code}: {said}");
        }
    }
}

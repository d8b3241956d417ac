//! What died with the server before this one.

use std::collections::HashSet;

use rusqlite::params;

use super::Sqlite;
use super::record::Record;
use super::writer::Book;
use crate::ledger::{Error, Result};
use crate::share::{ShareId, Timestamp};

impl Sqlite {
    /// Ends what died with the server before this one: uploads to which nobody can come back, and shares whose blob is not
    /// among those that are `present`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; also where no blob is present that should be: a folder that is not mounted is not the end of all.
    pub async fn end_lost(&self, present: HashSet<ShareId>, now: Timestamp) -> Result<()> {
        let end = move |book: &mut Book| {
            let lost = "UPDATE share SET abandoned_at = ?1, free_at = ?1
                 WHERE NOT resumable AND expires_at IS NULL AND abandoned_at IS NULL AND free_at > ?1";
            book.db.execute(lost, [now.0])?;
            let holding =
                "SELECT id FROM share WHERE free_at NOTNULL AND NOT inline AND (position > 0 OR expires_at NOTNULL)";
            let ids: Vec<[u8; 16]> =
                book.db.prepare(holding)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            let held = ids.len();
            let mut missing = Vec::new();
            for id in ids.into_iter().filter(|id| !present.contains(&ShareId::from_bytes(*id))) {
                let record = Record::load(&book.db, &ShareId::from_bytes(id))?;
                // What was about to be freed is no loss.
                if record.is_some_and(|record| record.history.free_at(now) > now) {
                    missing.push(id);
                }
            }
            if !missing.is_empty() && present.is_empty() {
                return Err(Error::Unavailable(format!("the bytes of all {held} shares are missing")).into());
            }
            for id in missing {
                tracing::error!("the bytes of a share are missing: the share is ended");
                let unpublished =
                    "UPDATE share SET abandoned_at = ?2, free_at = ?2 WHERE id = ?1 AND expires_at IS NULL";
                let published = "UPDATE share SET revoked_at = coalesce(revoked_at, ?2), free_at = ?2
                     WHERE id = ?1 AND expires_at NOTNULL";
                let leases = "UPDATE claim SET lease_expires_at = min(lease_expires_at, ?2)
                     WHERE share = (SELECT number FROM share WHERE id = ?1)";
                for update in [unpublished, published, leases] {
                    book.db.execute(update, params![id, now.0])?;
                }
            }
            Ok(())
        };
        self.writer.run(end).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::{Ledger, NewUpload, Terms};
    use crate::share::{Token, random};

    #[tokio::test]
    async fn an_upload_that_was_freed_is_not_lost_once_more() {
        let (folder, hour) = (tempfile::tempdir().unwrap(), Duration::from_secs(3600));
        let ledger = Sqlite::open(folder.path(), None).unwrap();
        let [token, owner, verifier] = [(); 3].map(|()| Token::from_bytes(random()).digest());
        let terms = Terms { verifier, password: false, expires_in: hour, downloads: 1 };
        let (id, now) = (ShareId::random(), Timestamp(1_700_000_000_000));
        let (window_ends_at, manifest_len) = (now.after(hour), 100);
        let upload =
            NewUpload { id, token, owner, terms, length: None, manifest_len, window_ends_at, resumable: false };
        ledger.begin(&upload, now).await.unwrap();
        assert_eq!(ledger.freed(&id, window_ends_at).await, Ok(true));
        let restart = window_ends_at.after(hour);
        ledger.end_lost(HashSet::new(), restart).await.unwrap();
        let history = ledger.receipt(&id, &owner, restart).await.unwrap();
        assert_eq!((history.state(restart).at, ledger.holds(&id).await), (window_ends_at, Ok(false)));
    }
}

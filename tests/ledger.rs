//! What every ledger promises, tried on every ledger.
//!
//! A promise is one function, named as a sentence, and listed once below; one that isn't listed is dead code, which the
//! build refuses. A new backend is one function that gives a [`World`], and one line.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/cluster.rs"]
#[allow(dead_code, reason = "other suites do more with a cluster")]
mod cluster_server;
#[path = "servers/redis.rs"]
mod redis_server;

#[path = "servers/sentinels.rs"]
#[allow(dead_code, reason = "the tests of failovers use the rest")]
mod sentinel_servers;
#[path = "servers/worlds.rs"]
mod worlds;

mod ledger {
    pub mod budget;
    pub mod ends;
    pub mod given;
    pub mod once;
    pub mod proofs;
    pub mod receipts;
    pub mod remains;
    pub mod uploads;
}

use std::any::Any;
use std::sync::Arc;

use onetimeshare::ledger::Ledger;

/// The most that a world's ledger may hold, in bytes.
pub const STORAGE: u64 = 1 << 40;

/// An empty ledger of [`STORAGE`], seen by two processes; or by one twice, where it can't be shared.
pub struct World {
    pub here: Arc<dyn Ledger>,
    pub there: Arc<dyn Ledger>,
    _held: Box<dyn Any + Send>,
}

fn of(worlds::Pair { here, there, held }: worlds::Pair) -> World {
    use onetimeshare::ledger::redis::RedisLedger;

    World { here: Arc::new(RedisLedger::new(here)), there: Arc::new(RedisLedger::new(there)), _held: held }
}

async fn redis() -> World {
    of(worlds::one().await)
}

async fn cluster() -> World {
    of(worlds::cluster().await)
}

async fn moving_cluster() -> World {
    of(worlds::moving_cluster().await)
}

async fn sentinels() -> World {
    of(worlds::sentinels().await)
}

async fn embedded() -> World {
    use onetimeshare::ledger::sqlite::Sqlite;

    let folder = tempfile::tempdir().expect("a folder");
    let here = Arc::new(Sqlite::open(folder.path(), Some(STORAGE)).expect("a ledger"));
    World { there: here.clone(), here, _held: Box::new(folder) }
}

macro_rules! promises {
    ($($room:ident: $($promise:ident)+;)+) => {
        promises!(on redis: $($($room $promise)+)+);
        promises!(on cluster: $($($room $promise)+)+);
        promises!(on moving_cluster: $($($room $promise)+)+);
        promises!(on sentinels: $($($room $promise)+)+);
        promises!(on embedded: $($($room $promise)+)+);
    };
    (on $backend:ident: $($room:ident $promise:ident)+) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::ledger::$room::$promise(super::$backend().await).await;
                }
            )+
        }
    };
}

promises! {
    once:
        only_one_of_many_claims_at_once_is_granted
        as_many_claims_are_granted_as_the_terms_allow
        the_same_claim_at_once_from_everywhere_is_one_claim
        the_same_claim_again_gets_the_same_grant
        the_last_claim_ends_the_share
        a_claim_that_ended_is_not_granted_again
        looking_costs_nothing
        an_unknown_share_is_unknown_to_everything;
    proofs:
        a_wrong_proof_costs_nothing_but_a_count
        ten_wrong_passwords_a_minute_lock_a_network
        the_right_password_is_locked_out_too
        of_many_guesses_at_once_no_more_are_answered
        wrong_passwords_are_forgotten_after_a_minute
        six_hundred_wrong_passwords_an_hour_lock_a_share
        a_share_without_a_password_is_never_locked
        a_repeated_claim_needs_neither_proof_nor_patience
        what_became_of_a_share_is_told_to_the_right_proof_only
        a_password_of_a_share_that_ended_can_not_be_guessed_either
        without_a_proof_no_manifest_is_shown;
    ends:
        an_unclaimed_share_expires
        a_revoked_share_is_gone
        revoking_again_is_fine
        what_is_claimed_can_not_be_revoked
        a_running_lease_outlives_revocation_and_expiry
        only_the_owner_revokes
        a_revoked_upload_is_abandoned
        an_upload_that_ended_can_not_be_ended_again
        revoking_what_expired_changes_nothing
        the_operator_ends_running_leases_too
        the_operator_ends_what_waits_and_what_is_uploading
        a_lease_lapses_when_no_byte_moves
        finishing_again_is_fine
        what_lapsed_can_not_be_finished;
    budget:
        a_claim_is_served_no_more_than_its_limit
        what_was_not_served_is_given_back
        a_charge_moves_the_end_of_the_lease_either_way
        a_charge_brings_the_inline_content
        an_inline_content_may_be_empty
        what_ended_is_not_charged
        a_lease_tells_what_the_claim_may_read;
    uploads:
        an_upload_is_as_it_was_begun
        beginning_again_is_fine
        progress_is_recorded
        nobody_advances_past_the_length_that_another_declared
        two_writers_can_not_both_advance
        a_repeated_advance_is_fine_for_its_writer_only
        a_length_may_be_declared_later
        an_upload_ends_with_its_window
        an_advance_moves_the_window
        publishing_again_gives_the_same_expiry
        a_published_upload_answers_until_its_window_ends
        only_an_upload_can_be_published
        an_upload_that_was_whole_at_once_is_a_share_at_once
        an_abandoned_upload_is_unknown
        a_published_upload_can_not_be_abandoned
        the_last_terms_hold;
    remains:
        what_finished_is_to_be_freed
        what_waits_or_is_leased_keeps_its_bytes
        what_ended_by_itself_is_due
        a_lease_that_goes_on_is_not_due
        what_is_revoked_while_leased_is_due_with_the_lease
        the_last_lease_that_runs_keeps_the_bytes_and_no_other
        what_a_clock_ahead_has_swept_stays_gone_once_it_is_set_right
        a_step_that_is_repeated_later_postpones_no_end
        what_is_due_waits_for_no_lease_that_goes_on
        what_can_not_be_freed_yet_is_put_off
        bytes_are_freed_once_by_any_number_of_sweepers
        a_record_holds_its_blob_until_it_is_freed
        an_upload_reserves_its_length
        what_was_given_up_is_not_reserved_any_more
        what_was_written_is_not_reserved_any_more
        a_declared_length_needs_room
        an_undeclared_length_must_not_outgrow_the_room;
    receipts:
        a_receipt_tells_what_happened
        a_receipt_is_the_owners
        a_receipt_is_kept_seven_days_past_the_end
        of_several_downloads_the_last_end_counts
        a_look_at_the_page_is_counted
        visits_of_the_status_page_are_counted
        a_ledger_keeps_its_name
        a_ledger_says_that_it_answers;
}

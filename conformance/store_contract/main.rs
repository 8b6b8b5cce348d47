//! What every adapter of the store port must keep: written once over `dyn Store`, stamped for each adapter.
//!
//! A claim is a function that takes an empty store. `every_claim!` lists them all; a claim that is not in the list is
//! dead code and the compiler says so. What only a file can show is in `file` and `power_cut`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a claim that does not hold panics")]

mod certificates;
mod concurrency;
mod copies;
#[path = "../drive.rs"]
mod drive;
mod enrolments;
mod exchanges;
mod file;
mod jobs;
mod objects;
mod power_cut;
mod samples;
mod settings;
mod sources;
mod timers;
mod transactions;

use certgate::{adapters::store::RedbStore, ports::store::Store};

/// Hands the list of claims to `$stamp`, after the arguments.
macro_rules! every_claim {
    ($stamp:ident! $($arguments:tt)*) => {
        $stamp! {
            $($arguments)*
            settings {
                issuers_are_replaced_and_listed_by_name
                external_issuers_share_the_names_of_issuers
                a_key_is_inserted_once_and_removed
                system_certificates_come_newest_first
                removing_a_system_certificate_removes_its_key
                profile_versions_follow_each_other
                the_newest_version_of_each_profile_is_listed
                the_crl_number_never_goes_back
                a_large_crl_is_there_once_all_of_it_is
                each_scope_has_its_newest_crl_and_one_sequence_of_numbers
                the_time_of_an_imported_crl_is_that_of_its_part
                a_crl_of_any_length_comes_back_and_leaves_nothing_of_a_longer_one
                what_a_directory_has_is_replaced_and_kept_apart
                a_token_is_found_by_its_present_mac
                two_tokens_never_share_a_mac
                the_audit_record_is_a_chain
                audit_events_are_paged_by_sequence
            }
            enrolments {
                a_ticket_is_found_by_its_present_mac
                two_tickets_never_share_a_mac
                tickets_are_paged_by_id
                tickets_of_a_device_are_its_own
                the_newest_enrolment_of_a_request_is_found
                a_change_to_an_old_enrolment_does_not_make_it_the_newest
                a_transaction_is_found_under_its_profile_and_signer_only
                pending_enrolments_come_in_order_of_arrival
                enrolments_are_paged_by_id
                a_removed_enrolment_is_found_by_nothing
                a_removed_ticket_is_found_by_nothing_and_its_mac_is_free
            }
            exchanges {
                exchanges_of_all_are_visited_newest_first
                an_exchange_written_again_keeps_its_transcript
                the_oldest_exchanges_are_pruned_in_small_steps
            }
            certificates {
                a_certificate_is_found_by_id_fingerprint_and_serial
                a_serial_is_issued_once_per_issuer
                a_fingerprint_is_recorded_once
                certificates_are_paged_in_numeric_order
                certificates_of_an_issuer_are_visited_in_numeric_order
                an_imported_certificate_is_completed_and_one_of_ours_is_not
                bindings_are_found_from_both_sides
                a_binding_belongs_to_one_generation
                causes_are_replaced_by_key_and_listed_in_order
                causes_of_neighbouring_serials_stay_apart
                causes_are_visited_in_numeric_order_of_serials
                a_visit_stops_at_the_first_error
                revocations_are_what_the_causes_amount_to
                a_revocation_ends_with_its_certificate_whichever_came_first
                a_permanent_cause_cannot_be_released
                a_permanent_cause_cannot_become_a_hold
                releasing_an_absent_cause_is_fine
                successors_are_found_by_what_they_supersede
            }
            objects {
                a_device_needs_the_next_version
                an_identity_belongs_to_one_device
                a_device_is_found_by_its_present_identities_only
                devices_are_paged_by_id
                devices_of_a_user_follow_the_device
                a_user_needs_the_next_version
                users_are_paged_by_id
            }
            sources {
                a_source_needs_the_next_version
                sources_are_listed_by_name
                a_device_belongs_to_one_source
                members_are_paged_by_device
                a_source_with_members_stays
            }
            jobs {
                jobs_of_a_lane_run_in_order
                lanes_run_side_by_side
                each_worker_leases_its_own_jobs_and_a_lane_is_asked_by_name
                a_job_is_not_leased_before_it_is_due
                a_head_that_is_not_due_holds_its_lane
                equal_waiting_jobs_are_one_job_that_runs_earlier
                a_leased_job_does_not_swallow_the_next
                a_start_ends_the_leases_of_who_is_gone
                a_lost_lease_completes_nothing
                a_lease_that_was_given_back_completes_nothing
                a_failed_job_is_tried_again_with_its_error
                a_dead_job_is_seen_and_out_of_the_way
                sequences_are_never_used_again
            }
            timers {
                timers_come_earliest_first_and_only_when_due
                a_timer_is_set_once_and_cleared_once
                timers_at_one_time_stay_apart
                the_time_that_was_believed_last_is_kept
            }
            transactions {
                a_refusal_leaves_nothing
                a_panic_leaves_nothing_and_the_store_goes_on
                a_conflict_inside_leaves_the_rest_to_the_closure
                a_transaction_reads_its_own_writes
                a_view_does_not_see_later_writes
                a_read_inside_a_write_sees_the_state_before
            }
            copies {
                an_import_gives_what_was_exported
                a_store_that_holds_something_takes_no_import
                an_import_of_a_newer_schema_is_refused
                an_import_that_breaks_off_leaves_nothing
                an_export_is_of_one_state_and_holds_nobody_up
                an_export_stops_at_the_first_error
                the_last_restoration_is_kept
                alarms_are_replaced_together
            }
            concurrency {
                writers_are_durable_and_serialised
                a_ticket_is_consumed_once
                the_audit_chain_survives_concurrency
                neighbours_of_a_rollback_run_again
                what_is_made_meanwhile_is_of_what_is_durable
                neighbours_of_a_panic_run_again
                a_refusal_rests_on_what_is_durable
                one_worker_gets_each_job
            }
        }
    };
}

/// A module of tests for one adapter: each claim on an empty store from `$on`.
macro_rules! adapter {
    ($adapter:ident on $on:path; $($module:ident { $($claim:ident)* })*) => {
        mod $adapter {
            $(mod $module {
                $(#[test]
                fn $claim() {
                    $on(crate::$module::$claim);
                })*
            })*
        }
    };
}

every_claim! { adapter! redb_file on crate::on_a_file; }
every_claim! { adapter! redb_memory on crate::in_memory; }

fn on_a_file(claim: fn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    claim(&RedbStore::open(&folder.path().join("store.redb")).unwrap());
}

fn in_memory(claim: fn(&dyn Store)) {
    claim(&RedbStore::in_memory().unwrap());
}

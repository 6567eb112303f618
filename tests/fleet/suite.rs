//! The cases in their order: those of the fleet on one and the same, then the anchor with hundreds of sites.

use pathsteer_lab::suite::Suite;

use crate::stage::Stage;
use crate::{apart, hundreds, leak, mesh, removed, rogue, snat};

/// The rogue uses up sequence numbers of the yacht's, so nobody talks after it; the one that takes a site away comes last.
pub static SUITE: Suite<Stage> = Suite {
    name: "fleet",
    // Agents say how long each of their turns took.
    environment: &[("RUST_LOG", "info,pathsteer_agent::reconcile=debug")],
    cases: &[
        ("every_site_talks_with_every_other_and_both_internets_while_a_line_dies_silently", mesh::case),
        ("what_leaves_by_the_second_anchor_is_translated_and_by_the_first_it_is_not", snat::case),
        ("fault_attack_and_flood_at_one_site_move_no_counter_window_or_path_of_another", apart::case),
        ("nothing_of_any_site_is_in_clear_while_workers_are_killed_and_the_second_anchor_dies", leak::case),
        ("the_flows_of_each_site_are_seen_in_clear_when_every_layer_is_taken_away", leak::control),
        ("a_site_gets_nothing_past_the_second_anchor_in_the_name_of_another", rogue::case),
        ("a_site_that_is_deleted_leaves_no_map_peer_or_route_anywhere", removed::case),
    ],
    encores: &[("an_anchor_of_five_hundred_sites_is_made_changed_and_relieved_of_one", hundreds::case)],
};

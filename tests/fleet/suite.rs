//! The cases in their order: those of the fleet on one and the same, then the anchor with hundreds of sites.

use pathsteer_lab::suite::Suite;

use crate::stage::Stage;
use crate::{apart, hundreds, mesh, removed, snat};

/// The one that takes a site away comes last.
pub static SUITE: Suite<Stage> = Suite {
    name: "fleet",
    // Agents say how long each of their turns took.
    environment: &[("RUST_LOG", "info,pathsteer_agent::reconcile=debug")],
    cases: &[
        ("every_site_talks_with_every_other_and_both_internets_while_a_line_dies_silently", mesh::case),
        ("what_leaves_by_the_second_anchor_is_translated_and_by_the_first_it_is_not", snat::case),
        ("fault_attack_and_flood_at_one_site_move_no_counter_window_or_path_of_another", apart::case),
        ("a_site_that_is_deleted_leaves_no_map_peer_or_route_anywhere", removed::case),
    ],
    encores: &[("an_anchor_of_five_hundred_sites_is_made_changed_and_relieved_of_one", hundreds::case)],
};

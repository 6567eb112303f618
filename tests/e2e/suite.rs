//! The cases in their order, and how they are run: each on the fleet that the one before it has left in order.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use pathsteer_lab::clock;

use crate::stage::Stage;
use crate::{
    attack, bootstrap, bulk, change, class, cli, drift, foreign, forged, inside, leak, lease, nat, one_way, outage,
    pin, shape, store, treatment,
};

/// What a case does to the fleet; an error is its failure.
type Act = fn(&mut Stage) -> Result<()>;

/// Those that only look come first, those that take a node apart last.
const CASES: &[(&str, Act)] = &[
    ("leases_are_in_the_providers_books_under_the_cards_own_addresses", lease::case),
    ("datagrams_and_pings_go_both_ways_in_both_families", inside::case),
    ("a_packet_of_the_mtu_passes_and_one_byte_more_is_refused_with_the_mtu", inside::mtu),
    ("bulk_tcp_is_cut_to_the_mtu_and_arrives_whole", bulk::case),
    ("traffic_of_a_policy_travels_in_its_steering_class_both_ways", class::case),
    ("shape_dscp_and_ecn_are_seen_outside_and_arrive_as_they_were", shape::class::unchanged),
    ("shape_congestion_on_a_line_reaches_flows_that_understand_it", shape::class::congestion),
    ("shape_ip_options_and_extension_headers_arrive", shape::pieces::options),
    ("shape_fragments_arrive_as_one_datagram_and_none_is_taken_for_another", shape::pieces::fragments),
    ("shape_every_hop_answers_with_its_real_address_and_tells_the_mtu_to_who_sends_too_much", shape::errors::case),
    ("shape_large_tcp_segments_arrive_whole_in_segments_that_fit", shape::segments::tcp),
    ("shape_tcp_with_one_ip_id_for_all_loses_nothing_to_merging_cards", shape::segments::fixed_ids),
    ("shape_datagrams_sent_in_one_go_arrive_one_by_one", shape::segments::udp),
    ("shape_lines_of_1280_to_9000_bytes_carry_full_packets_in_fragments_where_they_must", shape::mtu::mixed),
    ("shape_the_same_lines_carry_full_packets_when_the_tunnels_run_over_ipv6", shape::mtu::mixed_over_ipv6),
    ("shape_wide_lines_carry_wide_packets", shape::mtu::jumbo),
    ("shape_a_tunnel_over_ipv6_and_one_over_ipv4_take_turns_without_loss", shape::underlay::case),
    ("shape_each_copy_goes_by_its_own_line", shape::copies::lines),
    ("shape_copies_keep_within_their_rate_and_originals_do_not_notice", shape::copies::rate),
    ("shape_copies_end_with_the_months_bytes_whatever_becomes_of_agent_and_plan", shape::copies::quota),
    ("shape_a_slow_copy_delays_no_original", shape::order::slow_copies),
    ("shape_5000_packets_a_second_over_paths_200_ms_apart_arrive_once", shape::order::distant),
    ("shape_packets_in_complete_disorder_arrive_once", shape::order::reordered),
    ("shape_nodes_that_begin_to_count_anew_are_heard", shape::order::epochs),
    ("survivable_flows_are_in_a_tunnel_and_copied", treatment::survivable),
    ("service_flows_are_in_one_tunnel_untranslated", treatment::service),
    ("mixed_segments_are_treated_flow_by_flow", treatment::mixed),
    ("guests_go_straight_out_with_the_uplinks_address", treatment::guest),
    ("best_effort_segments_go_straight_out_whatever_policies_say", treatment::best_effort),
    ("an_anchor_gives_each_client_an_address_of_its_pool_and_keeps_to_it", nat::anchor),
    ("clients_with_one_port_are_told_apart", nat::same_port),
    ("a_running_flow_stays_on_its_uplink_when_a_better_one_recovers", pin::recovery),
    ("a_running_flow_keeps_its_treatment_when_the_policy_changes", pin::policy),
    ("new_flows_leave_an_uplink_that_has_gone_within_a_second", pin::gone),
    ("the_command_line_answers_as_people_use_it", cli::case),
    ("a_flow_that_only_goes_down_moves_with_a_forced_uplink", one_way::case),
    ("sources_that_are_not_the_sites_are_dropped_and_counted_one_by_one", forged::case),
    ("attack_a_site_gets_nothing_through_that_it_may_not_say", attack::site::case),
    ("attack_a_guest_reaches_nothing_but_the_internet_and_only_as_himself", attack::segment::guest),
    ("attack_segments_are_apart_unless_one_is_said_to_reach_another", attack::segment::vlan),
    ("attack_a_process_on_the_node_cannot_choose_its_path", attack::segment::marked),
    ("attack_what_a_site_makes_up_of_order_harms_itself_alone", attack::order::case),
    ("attack_replayed_datagrams_are_refused_and_move_no_tunnel", attack::wan::replay),
    ("attack_a_neighbour_on_a_wan_gets_answers_through_and_nothing_else", attack::wan::neighbour),
    ("attack_nobody_in_the_internet_passes_for_a_site", attack::wan::internet),
    ("an_object_put_into_etcd_by_hand_is_treated_as_if_applied", store::case),
    ("plans_change_under_traffic_without_loss", change::plans),
    ("a_killed_worker_loses_nothing_while_copies_are_armed", change::worker_killed),
    ("traffic_does_not_need_the_control_plane", outage::case),
    ("drift_is_repaired_object_by_object", drift::case),
    ("nothing_of_ours_reaches_a_wire_in_clear_when_tunnels_are_dead", leak::dead::case),
    ("nothing_leaks_while_tables_are_empty_and_workers_dead", leak::emptied::case),
    ("a_flow_in_clear_is_seen_when_every_layer_is_taken_away", leak::emptied::control_of_clear),
    ("a_guest_in_a_tunnel_is_seen_when_every_layer_is_taken_away", leak::emptied::control_of_guests),
    ("no_call_of_a_mixed_segment_is_in_clear_while_policies_come_and_go", leak::reshaped::case),
    ("nothing_leaks_while_an_uplink_is_up_before_its_tunnel", leak::torn::early),
    ("nothing_leaks_while_agents_are_torn_down_and_killed_half_way", leak::torn::case),
    ("foreign_state_outlives_everything_and_a_teardown_leaves_nothing_of_ours", foreign::case),
    ("a_node_without_memory_reaches_the_operator_and_its_first_plan_disturbs_no_uplink", bootstrap::case),
];

/// The fleet, from the first case on.
enum Theatre {
    Closed,
    Open(Box<Stage>),
    /// It did not start, or could not be put in order after a case: why.
    Ruined(String),
}

/// Runs what `arguments` select; the exit code is cargo's.
pub fn run(mut arguments: Arguments) -> ExitCode {
    // There is one fleet, and each case changes it.
    arguments.test_threads = Some(1);
    let theatre = Arc::new(Mutex::new(Theatre::Closed));
    let notes = Arc::new(Mutex::new(Vec::new()));
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|&(name, act)| {
            let (theatre, notes) = (Arc::clone(&theatre), Arc::clone(&notes));
            Trial::test(name, move || {
                let start = clock::now();
                let mut theatre = theatre.lock().unwrap_or_else(PoisonError::into_inner);
                let mut remarks = Vec::new();
                let outcome = perform(&mut theatre, act, &mut remarks);
                let seconds = (clock::now() - start).as_secs_f64();
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.push(format!("{name}: {seconds:.1} s"));
                notes.extend(remarks.into_iter().map(|remark| format!("    {remark}")));
                outcome.map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    trials.push(Trial::test("every_object_of_a_bootstrap_plan_is_in_the_compiled_one", || {
        bootstrap::compare().map_err(|error| Failed::from(format!("{error:#}")))
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    for note in notes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{note}");
    }
    if conclusion.has_failed() {
        println!("\nlogs: {}", crate::stage::out().join("logs").display());
    }
    conclusion.exit_code()
}

fn perform(theatre: &mut Theatre, act: Act, remarks: &mut Vec<String>) -> Result<()> {
    if let Theatre::Closed = theatre {
        *theatre = match Stage::open() {
            Ok(stage) => Theatre::Open(Box::new(stage)),
            Err(error) => Theatre::Ruined(format!("the fleet did not start: {error:#}")),
        };
    }
    let stage = match theatre {
        Theatre::Open(stage) => stage,
        Theatre::Ruined(why) => return Err(anyhow!("{why}")),
        Theatre::Closed => return Err(anyhow!("the fleet was not started")),
    };
    let outcome = act(stage);
    let restored = match &outcome {
        Ok(()) => stage.settle(),
        Err(_) => stage.rescue(),
    };
    remarks.append(&mut stage.remarks);
    let Err(error) = restored else { return outcome };
    let why = format!("the fleet was not in order afterwards: {error:#}");
    *theatre = Theatre::Ruined(format!("an earlier case has ruined the fleet: {why}"));
    Err(outcome.err().map_or_else(|| anyhow!("{why}"), |first| anyhow!("{first:#}; {why}")))
}

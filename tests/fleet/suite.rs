//! The cases in their order: those of the fleet on one and the same, then the anchor with hundreds of sites.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use pathsteer_lab::clock;

use crate::stage::Stage;
use crate::{apart, hundreds, mesh, removed, snat};

/// What a case does to the fleet; an error is its failure.
type Act = fn(&mut Stage) -> Result<()>;

/// Adds what it wants to tell beside its verdict.
type Telling = Box<dyn FnOnce(&mut Vec<String>) -> Result<()> + Send>;

/// The one that takes a site away comes last.
const CASES: &[(&str, Act)] = &[
    ("every_site_talks_with_every_other_and_both_internets_while_a_line_dies_silently", mesh::case),
    ("what_leaves_by_the_second_anchor_is_translated_and_by_the_first_it_is_not", snat::case),
    ("fault_attack_and_flood_at_one_site_move_no_counter_window_or_path_of_another", apart::case),
    ("a_site_that_is_deleted_leaves_no_map_peer_or_route_anywhere", removed::case),
];

/// Runs what `arguments` select; the exit code is cargo's.
pub fn run(mut arguments: Arguments) -> ExitCode {
    // There is one fleet, and each case changes it.
    arguments.test_threads = Some(1);
    let theatre: Arc<Mutex<Option<Result<Stage, String>>>> = Arc::default();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let trial = |name: &'static str, act: Telling| {
        let notes = Arc::clone(&notes);
        Trial::test(name, move || {
            let start = clock::now();
            let mut remarks = Vec::new();
            let outcome = act(&mut remarks);
            let seconds = (clock::now() - start).as_secs_f64();
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(format!("{name}: {seconds:.1} s"));
            notes.extend(remarks.into_iter().map(|remark| format!("    {remark}")));
            outcome.map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|&(name, act)| {
            let theatre = Arc::clone(&theatre);
            trial(
                name,
                Box::new(move |remarks| {
                    let mut theatre = theatre.lock().unwrap_or_else(PoisonError::into_inner);
                    let stage = theatre.get_or_insert_with(|| Stage::open().map_err(|error| format!("{error:#}")));
                    let stage = stage.as_mut().map_err(|why| anyhow!("the fleet did not start: {why}"))?;
                    let outcome = act(stage);
                    remarks.append(&mut stage.remarks);
                    outcome
                }),
            )
        })
        .collect();
    trials.push(trial("an_anchor_of_five_hundred_sites_is_made_changed_and_relieved_of_one", {
        let theatre = Arc::clone(&theatre);
        Box::new(move |remarks| {
            // The fleet ends first: it would take time that is measured here.
            drop(theatre.lock().unwrap_or_else(PoisonError::into_inner).take());
            hundreds::case(remarks)
        })
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

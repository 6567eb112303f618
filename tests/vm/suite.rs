//! What runs on each kernel: test programs that were built for the host, and this one.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::job::{Job, Outcome};
use crate::kernel;
use crate::targets::Targets;

/// A suite.
pub struct Suite {
    /// What it shows, as the end of a test's name.
    pub name: &'static str,
    pub program: Program,
    pub arguments: &'static [&'static str],
    /// Seconds, on a loaded host.
    pub deadline: u64,
    /// The series of the kernel that it runs on where one is enough, or all there is; every kernel when absent.
    pub only: Option<&'static str>,
}

/// What a suite is carried out by.
pub enum Program {
    /// The test target `name` of the package in `folder`.
    Target { folder: &'static str, name: &'static str },
    /// This program.
    Own,
}

/// The agent in namespaces. All of it would take half an hour: here is what only a stock kernel can show.
const NETNS: Program = Program::Target { folder: "tests", name: "netns" };

/// First argument of this program when it is to play the mirror scenario.
pub const MIRROR: &str = "mirror";

/// First argument of this program when it is to play the node that loses its power.
pub const POWER: &str = "power";
/// Seconds that it may take.
pub const POWER_DEADLINE: u64 = 600;

/// First argument of this program when it is to pull cards out of the machine.
pub const HOTPLUG: &str = "hotplug";

/// First argument of this program when it is to log in to a Wi-Fi network.
pub const WIFI: &str = "wifi";

/// First argument of this program when it is to say what the product makes of the kernel.
pub const VERDICT: &str = "verdict";

/// In the order in which they run.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "programs_verify_attach_and_carry_packets",
        program: Program::Target { folder: "agent/bpf", name: "kernel" },
        // The window is arithmetic and the same everywhere, the self-test has a suite of its own here, and what compares
        // times has no place on an emulated machine.
        arguments: &["--skip", "window::", "--skip", "selftest::", "--skip", "of_the_time"],
        deadline: 240,
        only: None,
    },
    Suite {
        name: "the_best_hook_is_found_and_segmentation_tried",
        program: Program::Own,
        arguments: &[VERDICT],
        deadline: 60,
        only: None,
    },
    Suite {
        name: "the_kernels_own_wireguard_takes_orders",
        program: Program::Target { folder: "agent/wireguard", name: "kernel_backend" },
        arguments: &[],
        deadline: 120,
        only: None,
    },
    Suite {
        name: "empty_nodes_become_what_their_plans_describe",
        program: NETNS,
        arguments: &["an_empty_node_becomes"],
        deadline: 240,
        only: None,
    },
    // Two minutes each and more: the drivers of an edge where programs are filters, those of an anchor where they are links.
    Suite {
        name: "drivers_put_right_what_somebody_breaks_on_an_edge",
        program: NETNS,
        arguments: &["what_somebody_breaks_on_an_edge"],
        deadline: 300,
        only: Some(kernel::GENERIC),
    },
    Suite {
        name: "drivers_put_right_what_somebody_breaks_on_an_anchor",
        program: NETNS,
        arguments: &["what_somebody_breaks_on_an_anchor"],
        deadline: 300,
        only: Some("6.12"),
    },
    Suite {
        name: "a_teardown_leaves_nothing",
        program: NETNS,
        arguments: &["teardown_leaves_nothing"],
        deadline: 240,
        only: Some(kernel::GENERIC),
    },
    Suite {
        name: "what_is_not_ours_stays",
        program: NETNS,
        arguments: &["what_is_not_ours_stays_byte_for_byte_from_before"],
        deadline: 500,
        // It has every kind of foreign thing; once is enough of two and a half minutes.
        only: Some(kernel::GENERIC),
    },
    Suite {
        name: "a_trunk_carries_segments_of_four_treatments",
        program: NETNS,
        arguments: &["802_1q"],
        deadline: 300,
        only: None,
    },
    Suite {
        name: "an_uplink_that_dies_in_silence_loses_nothing_while_copies_are_on",
        program: Program::Own,
        arguments: &[MIRROR],
        deadline: 400,
        only: None,
    },
    // These two take the machine's own cards, so they come last.
    Suite {
        name: "cards_that_are_pulled_out_are_taken_up_again",
        program: Program::Own,
        arguments: &[HOTPLUG],
        deadline: 300,
        only: Some(kernel::GENERIC),
    },
    Suite {
        name: "a_radio_is_moved_as_a_whole_and_comes_home",
        program: Program::Own,
        arguments: &[WIFI],
        deadline: 300,
        only: Some(kernel::GENERIC),
    },
];

impl Suite {
    /// The order to run it.
    ///
    /// # Errors
    /// When its program was not built.
    pub fn job(&self, targets: &Targets) -> Result<Job> {
        let (program, folder) = match self.program {
            Program::Own => (std::env::current_exe()?, targets.root().to_owned()),
            Program::Target { folder, name } => {
                (targets.program(folder, name)?.to_owned(), targets.root().join(folder))
            }
        };
        let environment = [
            // as cargo has it
            ("CARGO_MANIFEST_DIR", folder.to_string_lossy().into_owned()),
            // What a stock kernel has must be there: no test may leave itself out.
            ("PATHSTEER_REQUIRE_STOCK", "1".to_owned()),
            // Emulated, everything takes ten times as long.
            ("PATHSTEER_PATIENCE", "10".to_owned()),
        ];
        let environment: BTreeMap<String, String> =
            environment.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let arguments = self.arguments.iter().map(|word| (*word).to_owned()).collect();
        Ok(Job { program, arguments, folder, environment, deadline: self.deadline, stays: false })
    }

    /// What is wrong with `outcome`, if anything is. A test that was left out is.
    pub fn defect(&self, outcome: &Outcome) -> Option<String> {
        match (outcome.code, &self.program) {
            (None, _) => Some(format!("ended by a signal or the deadline of {} s", self.deadline)),
            (Some(0), Program::Target { .. }) => gaps(&outcome.output),
            (Some(0), Program::Own) => None,
            (Some(code), _) => Some(format!("exit code {code}")),
        }
    }
}

/// What `output` of a test program says was left out or not run at all.
fn gaps(output: &str) -> Option<String> {
    let results: Vec<&str> = output.lines().filter(|line| line.starts_with("test result: ")).collect();
    // `test result: ok. 3 passed; 0 failed; 0 ignored; …`
    let count = |word: &str| -> u64 {
        let parts = results.iter().flat_map(|line| line.split("; "));
        parts.filter_map(|part| part.trim().strip_suffix(word)?.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    match (count(" passed"), count(" ignored")) {
        (0, _) => Some("no test has run".to_owned()),
        (_, 0) => None,
        (_, ignored) => Some(format!("{ignored} tests were left out")),
    }
}

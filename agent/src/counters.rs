//! Packets by what became of them, from all who count.

use std::collections::BTreeMap;

use pathsteer_crds::report::CounterReport;
use pathsteer_wireguard::WorkerStatus;

use crate::drivers::{datapath::Shim, nft::Tallies};

/// Everything that is not zero: of the shim by remote, of nft by namespace, of the workers by slot.
pub fn counters(shim: Option<&Shim>, tallies: &Tallies, workers: &BTreeMap<u8, WorkerStatus>) -> Vec<CounterReport> {
    let count =
        |name: &str, place: String, remote, packets| CounterReport { name: name.to_owned(), place, remote, packets };
    let mut all = Vec::new();
    let of_shim = shim.and_then(|shim| shim.lock().maps.counters().ok()).unwrap_or_default();
    for (remote, counters) in of_shim {
        all.extend(counters.into_iter().map(|(name, packets)| count(name, "shim".to_owned(), remote, packets)));
    }
    all.extend(tallies.counters.iter().cloned());
    all.extend(workers.iter().map(|(slot, worker)| count("rejected", format!("worker {slot}"), 0, worker.rejected)));
    all.retain(|counter| counter.packets > 0);
    all
}

//! What keeps the node from its work though no object of the plan is wrong for it. Who notices one puts it here and takes
//! it back when it is over; the next report has it, and the operator makes a condition of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pathsteer_crds::report::{Moment, ProblemReport};

/// What can be wrong. A new one needs its line in [`Problem::kind`] and [`Problem::object`] and nothing elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The kernel does not tell what it holds, so nothing is reconciled.
    Kernel,
    /// The programs and maps cannot be had: nothing survivable leaves.
    Datapath,
    /// The switching machine ended.
    Steering,
    /// The uplink in this slot asks for an address and has none.
    Lease(u8),
    /// This WireGuard interface of this slot carries nothing.
    Tunnel(u8, String),
    /// A file of the state directory could not be written, or not be read.
    File(String),
    /// A plan came that cannot be carried out.
    Plan,
    /// The node's certificate ends soon, and with it every session.
    Certificate,
}

impl Problem {
    /// The reason of the condition, one word.
    fn kind(&self) -> &'static str {
        match self {
            Problem::Kernel => "KernelNotObserved",
            Problem::Datapath => "NoDatapath",
            Problem::Steering => "NotSteering",
            Problem::Lease(_) => "NoLease",
            Problem::Tunnel(..) => "TunnelBroken",
            Problem::File(_) => "NotSaved",
            Problem::Plan => "PlanRefused",
            Problem::Certificate => "CertificateExpires",
        }
    }

    fn object(&self) -> String {
        match self {
            Problem::Kernel => "kernel".to_owned(),
            Problem::Datapath => "datapath".to_owned(),
            Problem::Steering => "switching machine".to_owned(),
            Problem::Lease(slot) => format!("uplink {slot}"),
            Problem::Tunnel(_, link) => format!("tunnel {link}"),
            Problem::File(name) => format!("file {name}"),
            Problem::Plan => "plan".to_owned(),
            Problem::Certificate => "certificate".to_owned(),
        }
    }

    fn slot(&self) -> Option<u8> {
        match self {
            Problem::Lease(slot) | Problem::Tunnel(slot, _) => Some(*slot),
            _ => None,
        }
    }

    /// As it is reported; since when is for who remembers it.
    pub fn report(&self, reason: String) -> ProblemReport {
        let kind = self.kind().to_owned();
        ProblemReport { kind, object: self.object(), slot: self.slot(), reason, since: Moment::default() }
    }
}

/// The problems that tasks have told, shared by all of them.
#[derive(Debug, Clone, Default)]
pub struct Problems(Arc<Mutex<BTreeMap<Problem, String>>>);

impl Problems {
    /// There is this problem, with its reason; or there is none (any more).
    pub fn put(&self, problem: Problem, reason: Option<String>) {
        let mut all = self.lock();
        match reason {
            Some(reason) => all.insert(problem, reason),
            None => all.remove(&problem),
        };
    }

    /// All there are.
    pub fn reports(&self) -> Vec<ProblemReport> {
        self.lock().iter().map(|(problem, reason)| problem.report(reason.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Problem, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

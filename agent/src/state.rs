//! What the node keeps on disk: the last good plan, its keys, counters that only grow.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use pathsteer_agent_core::{CopyMonth, DeadMan, Lease, Leases, Lender, Since, TimeKept};
use pathsteer_crds::{
    canonical,
    identity::NodeIdentity,
    plan::{NodePlan, PlanRoot, assemble},
};
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;

use crate::{
    problems::{Problem, Problems},
    sys::clock,
};

/// The node's state directory, 0700. What cannot be written or read is a problem until it could be written.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf, Problems);

/// A plan as it came, with the revision at which the stream resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    pub revision: i64,
    pub root: PlanRoot,
    /// By SHA-256.
    pub fragments: BTreeMap<String, String>,
}

/// What a network card was like before it was taken, and has to be like again when it is given back: the kernel forgets
/// it when the card changes its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardBefore {
    pub up: bool,
    /// Its sysctls, by the path below `/proc/sys/net` with `{}` for its name.
    pub sysctls: BTreeMap<String, String>,
    /// Its addresses, routes and permanent neighbours, as the kernel's own messages.
    #[serde(default)]
    pub settings: Vec<Vec<u8>>,
    /// Its number, which no other card of that name has while the machine runs that was booted as `boot`.
    #[serde(default)]
    pub index: u32,
    #[serde(default)]
    pub boot: String,
}

#[derive(Serialize, Deserialize)]
struct SavedLeases {
    /// Ends of leases are times since this boot.
    boot: String,
    leases: Vec<(u8, Lender, Lease)>,
}

/// Since when what is wrong has been so, as the agent before this one knew. It is in `folder`, which a reboot empties: what
/// was wrong before that is over.
pub fn since(folder: &Path) -> Since {
    let saved = fs::read_to_string(folder.join("since.json")).ok();
    saved.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Keeps that for the next agent. Without it that one tells since when it has seen things itself.
pub fn save_since(folder: &Path, since: &Since) {
    let (path, fresh) = (folder.join("since.json"), folder.join("since.json.new"));
    let saved = serde_json::to_string(since).map_err(io::Error::from).and_then(|text| fs::write(&fresh, text));
    if let Err(error) = saved.and_then(|()| fs::rename(fresh, path)) {
        tracing::debug!(%error, "since when is not kept");
    }
}

impl StateDir {
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(StateDir(path.to_owned(), Problems::default()))
    }

    /// Where everything that is wrong with the node is told.
    pub fn problems(&self) -> &Problems {
        &self.1
    }

    /// The private key of the node's certificate.
    pub fn node_key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// # Errors
    /// The disk; there is no key then, rather than half of one.
    pub fn save_node_key(&self, pem: &str) -> io::Result<()> {
        self.write("node.key", pem)
    }

    /// The WireGuard private key of a slot.
    pub fn wireguard_key(&self, slot: u8) -> PathBuf {
        self.0.join(format!("wireguard-{slot}.key"))
    }

    /// Of the memory that begins with these keys, and outlives them.
    fn incarnation(&self, first: &NodeIdentity) -> io::Result<u32> {
        let known = self.number("incarnation")?;
        if known != 0 {
            return u32::try_from(known).map_err(io::Error::other);
        }
        let hash = canonical::sha256(canonical::to_json(&first.wireguard_keys).as_bytes());
        let begun = u32::from_str_radix(&hash[..8], 16).map_err(io::Error::other)?.max(1);
        self.write("incarnation", &begun.to_string())?;
        Ok(begun)
    }

    /// The key that will be the slot's once the operator knows it.
    fn wireguard_next_key(&self, slot: u8) -> PathBuf {
        self.0.join(format!("wireguard-{slot}.next.key"))
    }

    /// Makes the slot's next key, in the place of one that waits, and tells its public half.
    ///
    /// # Errors
    /// The disk.
    pub fn make_next_key(&self, slot: u8) -> io::Result<String> {
        pathsteer_wireguard::make_private_key(&self.wireguard_next_key(slot)).map_err(io::Error::other)
    }

    /// The public half of the slot's key, if there is one.
    ///
    /// # Errors
    /// The disk, or what is there is no key.
    pub fn key(&self, slot: u8) -> io::Result<Option<String>> {
        pathsteer_wireguard::public_key(&self.wireguard_key(slot)).map_err(io::Error::other)
    }

    /// The public half of the slot's next key, if there is one.
    ///
    /// # Errors
    /// The disk, or what is there is no key.
    pub fn next_key(&self, slot: u8) -> io::Result<Option<String>> {
        pathsteer_wireguard::public_key(&self.wireguard_next_key(slot)).map_err(io::Error::other)
    }

    /// Puts the slot's next key, if there is one, in the place of the one in use.
    ///
    /// # Errors
    /// The disk; the one in use stays.
    pub fn use_next_key(&self, slot: u8) -> io::Result<()> {
        match std::fs::rename(self.wireguard_next_key(slot), self.wireguard_key(slot)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the slot's worker remembers endpoints.
    pub fn wireguard_endpoints(&self, slot: u8) -> PathBuf {
        self.0.join(format!("wireguard-{slot}.endpoints"))
    }

    /// Makes the keys that are missing and tells the public halves, and which memory this is.
    ///
    /// # Errors
    /// A key cannot be read or made.
    pub fn identity(&self) -> io::Result<NodeIdentity> {
        let mut identity = NodeIdentity::default();
        for slot in 1..=8 {
            let key = pathsteer_wireguard::ensure_private_key(&self.wireguard_key(slot)).map_err(io::Error::other)?;
            identity.wireguard_keys.insert(slot, key);
        }
        identity.incarnation = self.incarnation(&identity)?;
        Ok(identity)
    }

    /// The last good plan; `None` before the first. One that does not read back whole is as good as none: the error is
    /// for the log.
    ///
    /// # Errors
    /// The file is there and damaged.
    pub fn plan(&self) -> io::Result<Option<(SavedPlan, NodePlan)>> {
        let read = || {
            let Some(text) = self.read("plan.json")? else { return Ok(None) };
            let saved: SavedPlan = serde_json::from_str(&text)?;
            let plan = assemble(&saved.root, &saved.fragments).map_err(io::Error::other)?;
            Ok(Some((saved, plan)))
        };
        let plan = read();
        if let Err(error) = &plan {
            let why = format!("the saved plan is unusable, the node waits for the operator's: {error}");
            self.1.put(Problem::File("plan.json".to_owned()), Some(why));
        }
        plan
    }

    /// # Errors
    /// The disk; the plan that was there stays.
    pub fn save_plan(&self, plan: &SavedPlan) -> io::Result<()> {
        self.write("plan.json", &serde_json::to_string(plan)?)
    }

    /// The plan before the one in force, kept while that is on trial; `None` if that was the bootstrap plan.
    pub fn plan_before(&self) -> Option<SavedPlan> {
        let saved = self.read("plan-before.json").ok().flatten();
        saved.and_then(|text| serde_json::from_str(&text).ok())
    }

    /// # Errors
    /// The disk.
    pub fn save_plan_before(&self, plan: Option<&SavedPlan>) -> io::Result<()> {
        match plan {
            Some(plan) => self.write("plan-before.json", &serde_json::to_string(plan)?),
            None => self.remove("plan-before.json"),
        }
    }

    /// Forgets the last good plan: the node begins anew with its bootstrap plan.
    ///
    /// # Errors
    /// The disk.
    pub fn forget_plan(&self) -> io::Result<()> {
        self.remove("plan.json")
    }

    /// How the plan in force stands with the dead-man.
    pub fn dead_man(&self) -> DeadMan {
        let saved = self.read("dead-man.json").ok().flatten();
        saved.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// # Errors
    /// The disk.
    pub fn save_dead_man(&self, dead_man: &DeadMan) -> io::Result<()> {
        self.write("dead-man.json", &serde_json::to_string(dead_man)?)
    }

    /// Leases of the last run, if that was since the machine booted.
    pub fn leases(&self) -> Leases {
        let saved: Option<SavedLeases> =
            self.read("leases.json").ok().flatten().and_then(|text| serde_json::from_str(&text).ok());
        let here = saved.filter(|saved| clock::boot_id().is_ok_and(|boot| boot == saved.boot));
        let leases = here.into_iter().flat_map(|saved| saved.leases);
        leases.map(|(slot, lender, lease)| ((slot, lender), lease)).collect()
    }

    /// # Errors
    /// The disk.
    pub fn save_leases(&self, leases: &Leases) -> io::Result<()> {
        let leases = leases.iter().map(|((slot, lender), lease)| (*slot, *lender, lease.clone())).collect();
        let saved = SavedLeases { boot: clock::boot_id()?, leases };
        self.write("leases.json", &serde_json::to_string(&saved)?)
    }

    /// What network cards were like before they were taken, by the name they had then.
    pub fn cards(&self) -> BTreeMap<String, CardBefore> {
        let saved = self.read("cards.json").ok().flatten();
        saved.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// # Errors
    /// The disk.
    pub fn save_cards(&self, cards: &BTreeMap<String, CardBefore>) -> io::Result<()> {
        self.write("cards.json", &serde_json::to_string(cards)?)
    }

    /// What sysctls of the node's own namespace were before they were set, by the path below `/proc/sys`.
    pub fn lent_sysctls(&self) -> BTreeMap<String, String> {
        let saved = self.read("sysctls.json").ok().flatten();
        saved.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// # Errors
    /// The disk.
    pub fn save_lent_sysctls(&self, sysctls: &BTreeMap<String, String>) -> io::Result<()> {
        self.write("sysctls.json", &serde_json::to_string(sysctls)?)
    }

    /// What copies had used of their budgets; nothing if it was never written or cannot be read.
    pub fn copy_month(&self) -> CopyMonth {
        let saved = self.read("copies.json").ok().flatten();
        saved.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// # Errors
    /// The disk.
    pub fn save_copy_month(&self, copied: &CopyMonth) -> io::Result<()> {
        self.write("copies.json", &serde_json::to_string(copied)?)
    }

    /// The last time kept; `None` if there is none that can be read.
    pub fn time_kept(&self) -> Option<TimeKept> {
        serde_json::from_str(&self.read("time.json").ok()??).ok()
    }

    /// # Errors
    /// The disk.
    pub fn save_time(&self, kept: &TimeKept) -> io::Result<()> {
        self.write("time.json", &serde_json::to_string(kept)?)
    }

    /// The epoch of the present sequences; grows for ever, its low five bits go on the wire.
    ///
    /// # Errors
    /// The disk.
    pub fn epoch(&self) -> io::Result<u32> {
        self.number("epoch").map(|epoch| epoch as u32)
    }

    /// # Errors
    /// The disk; nothing may be sent then.
    pub fn advance_epoch(&self) -> io::Result<()> {
        let next = self.number("epoch")? + 1;
        self.write("epoch", &next.to_string())
    }

    /// The highest switch counter that may have been used.
    ///
    /// # Errors
    /// The disk.
    pub fn switch_counter(&self) -> io::Result<u64> {
        self.number("switch-counter")
    }

    /// # Errors
    /// The disk.
    pub fn save_switch_counter(&self, counter: u64) -> io::Result<()> {
        self.write("switch-counter", &counter.to_string())
    }

    fn number(&self, name: &str) -> io::Result<u64> {
        match self.read(name)? {
            Some(text) => text.trim().parse().map_err(|_| {
                let path = self.0.join(name);
                io::Error::other(format!("{} holds no number: restore it, or delete it to begin at 0", path.display()))
            }),
            None => Ok(0),
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whole or not at all: written beside it, synced, renamed. A slow disk holds up no other task.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let written = block_in_place(|| self.replace(name, text));
        let why = written.as_ref().err().map(|error| {
            format!(
                "cannot be written, a reboot would begin with the one before ({error}): make room on {}",
                self.0.display()
            )
        });
        self.1.put(Problem::File(name.to_owned()), why);
        written
    }

    fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        let (path, fresh) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let written = write_whole(&fresh, text).and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            // of a full disk it would keep the rest for nothing
            let _ = fs::remove_file(fresh);
        }
        written?;
        File::open(&self.0)?.sync_all()
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::{
        canonical,
        plan::{NetnsSpec, PLAN_VERSION, PlanObjects, Role, split},
    };

    use super::*;

    fn saved() -> SavedPlan {
        let netns = ["psvip", "psup1"].map(|name| NetnsSpec { name: name.into() }).to_vec();
        let objects = PlanObjects { netns, ..PlanObjects::default() };
        let fragments = split(&BTreeMap::from([("node".to_owned(), objects)]));
        let hash = |json: &String| canonical::sha256(json.as_bytes());
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: "rv-07".into(),
            role: Role::Edge,
            store_epoch: 1,
            generation: 7,
            fragments: fragments.iter().map(|(name, json)| (name.clone(), hash(json))).collect(),
        };
        SavedPlan { revision: 7, root, fragments: fragments.into_values().map(|json| (hash(&json), json)).collect() }
    }

    #[test]
    fn a_saved_plan_that_was_cut_off_is_no_plan_and_a_flipped_bit_never_makes_other_objects() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        state.save_plan(&saved()).unwrap();
        let path = folder.path().join("plan.json");
        let whole = fs::read(&path).unwrap();
        let (_, plan) = state.plan().unwrap().unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(state.plan().is_err(), "cut off after {end} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let objects = state.plan().ok().flatten().map(|(_, plan)| plan.objects);
            assert!(objects.is_none_or(|objects| objects == plan.objects), "bit {bit} flipped");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        state.save_switch_counter(64).unwrap();
        // A folder of that name cannot be replaced by a file.
        fs::create_dir(folder.path().join("epoch")).unwrap();
        state.write("epoch", "1").unwrap_err();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["epoch", "switch-counter"]);
        assert_eq!(state.switch_counter().unwrap(), 64);
    }
}

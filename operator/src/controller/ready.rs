//! Whether a node carries out the plan that is published for it. Pure.

use std::borrow::Cow;

use pathsteer_crds::ownership;
use pathsteer_crds::plan::{PlanObjects, PlanRoot};
use pathsteer_crds::report::{Moment, NodeReport, ObjectReport, ProblemReport, REJECT_AFTER_SECONDS, TunnelReport};

use super::decision::Reason;

/// What an agent names when it cannot observe.
const UNOBSERVED: &str = "kernel";

/// A tunnel the plan declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    pub slot: u8,
    pub link: String,
    /// The node at the other end; None while a key is missing at either end, so that there is no peer to declare.
    pub peer: Option<String>,
}

/// The tunnels of a plan, of all its scopes: every peer of every WireGuard device.
pub fn tunnels<'a>(scopes: impl Iterator<Item = &'a PlanObjects> + Clone) -> Vec<Tunnel> {
    let peers: Vec<_> = scopes.clone().flat_map(|objects| &objects.wireguard_peers).collect();
    let devices = scopes.flat_map(|objects| &objects.wireguard_devices);
    let mut tunnels = Vec::new();
    for device in devices {
        let tunnel = |peer| Tunnel { slot: device.slot, link: device.link.clone(), peer };
        let before = tunnels.len();
        let own = peers.iter().filter(|peer| peer.link == device.link);
        tunnels.extend(own.map(|peer| tunnel(Some(peer.node.clone()))));
        if tunnels.len() == before {
            tunnels.push(tunnel(None));
        }
    }
    tunnels
}

/// Everything known about a node when its readiness is judged.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pub published: Option<&'a PlanRoot>,
    pub tunnels: &'a [Tunnel],
    pub report: Option<&'a NodeReport>,
    /// A plan stream is open.
    pub connected: bool,
    /// What `check` found in the plan that should have been published.
    pub faulty: Option<&'a str>,
}

impl Node<'_> {
    /// What keeps the node from carrying out its plan with every tunnel up; None: nothing.
    pub fn obstacle(&self) -> Option<Reason> {
        self.carried_out().or_else(|| self.not_as_declared("")).or_else(|| self.down(|_| true))
    }

    /// The same for the uplink in `slot` alone.
    pub fn uplink_obstacle(&self, slot: u8) -> Option<Reason> {
        self.carried_out()
            .or_else(|| self.not_as_declared(&format!("{}/", ownership::uplink_netns(slot))))
            .or_else(|| self.down(|tunnel| tunnel.slot == slot))
    }

    /// The same for what a site declares of its inside: its segments and what a person wants of it. Tunnels have no
    /// part in that: forcing an uplink is done although another one is down.
    pub fn inside_obstacle(&self) -> Option<Reason> {
        self.carried_out().or_else(|| self.not_as_declared(&format!("{}/", ownership::VIP_NETNS)))
    }

    /// What keeps the node, or of it only the uplink in `slot`, from its work, or will; None: nothing is known.
    pub fn problem(&self, slot: Option<u8>) -> Option<Reason> {
        let problems = self.report.map_or(&[][..], |report| &report.problems);
        let its = |problem: &&ProblemReport| slot.is_none() || problem.slot == slot || problem.slot.is_none();
        let problems: Vec<_> = problems.iter().filter(its).collect();
        let said = problems.iter().map(|problem| said(&problem.object, &problem.reason, &problem.since));
        let sentence = said.collect::<Vec<_>>().join("; ");
        problems.first().and_then(|first| reason(first.kind.clone(), sentence))
    }

    fn carried_out(&self) -> Option<Reason> {
        if let Some(findings) = self.faulty {
            return reason(
                "PlanFaulty",
                format!("the plan was not published, this is a defect of PathSteer: {findings}"),
            );
        }
        let Some(published) = self.published else {
            return reason("PlanPending", "no plan is published yet".to_owned());
        };
        if !self.connected {
            let sentence = "the node's agent is not connected: is it running, and can it reach the operator?";
            return reason("NotConnected", sentence.to_owned());
        }
        let Some(report) = self.report else {
            return reason("NoReport", "the node's agent has not reported yet".to_owned());
        };
        let (wanted, has) = ((published.store_epoch, published.generation), (report.store_epoch, report.generation));
        if wanted != has {
            let sentence = format!(
                "the node carries out generation {} of epoch {}, published is generation {} of epoch {}",
                has.1, has.0, wanted.1, wanted.0
            );
            return reason("PlanPending", sentence);
        }
        None
    }

    /// Objects that are not as declared, of those whose name has `part` in it.
    fn not_as_declared(&self, part: &str) -> Option<Reason> {
        let report = self.report.filter(|report| !report.verified)?;
        if report.not_as_declared.is_empty() {
            return reason("NotVerified", "the node has not verified its plan yet".to_owned());
        }
        // of a kernel that cannot be observed nothing is known, whichever part is asked for
        let its = |object: &&ObjectReport| object.object.contains(part) || object.object == UNOBSERVED;
        let objects = report.not_as_declared.iter().filter(its);
        let named: Vec<_> = objects.map(|object| said(&object.object, &object.reason, &object.since)).collect();
        reason("NotAsDeclared", named.join("; ")).filter(|_| !named.is_empty())
    }

    fn down(&self, of: impl Fn(&Tunnel) -> bool) -> Option<Reason> {
        let (mut keyless, mut silent) = (Vec::new(), Vec::new());
        for tunnel in self.tunnels.iter().filter(|tunnel| of(tunnel)) {
            let Tunnel { slot, link, peer } = tunnel;
            match peer {
                None => keyless.push(format!("slot {slot} ({link})")),
                Some(peer) if !self.is_up(link, peer) => {
                    silent.push(format!("slot {slot} to {peer} ({link}){}", self.trouble(*slot)));
                }
                Some(_) => {}
            }
        }
        if !keyless.is_empty() {
            let sentence = format!(
                "a key is missing, here or at the other end, until its agent reports it: {}",
                keyless.join(", ")
            );
            return reason("KeysPending", sentence);
        }
        let sentence = format!("no handshake in the last {REJECT_AFTER_SECONDS} s: {}", silent.join(", "));
        reason("TunnelDown", sentence).filter(|_| !silent.is_empty())
    }

    /// What the uplink in `slot` says of its network that may be why.
    fn trouble(&self, slot: u8) -> String {
        let uplinks = self.report.map_or(&[][..], |report| &report.uplinks);
        let uplink = uplinks.iter().find(|uplink| uplink.slot == slot);
        let portal = uplink.and_then(|uplink| uplink.captive_portal.as_ref());
        let portal = portal.map(|portal| format!("its network has a captive portal, {portal}"));
        let words = uplink.and_then(|uplink| uplink.trouble.clone()).or(portal);
        words.map_or_else(String::new, |words| format!(", where {words}"))
    }

    fn is_up(&self, link: &str, peer: &str) -> bool {
        let reported = self.report.map_or(&[][..], |report| &report.tunnels);
        let same = |report: &&TunnelReport| report.link == link && report.peer == peer;
        reported.iter().find(same).is_some_and(TunnelReport::is_up)
    }
}

/// What is wrong, and since when by the node's clock.
fn said(object: &str, reason: &str, since: &Moment) -> String {
    let since = if since.since.is_empty() { String::new() } else { format!(" (since {})", since.since) };
    format!("{object}: {reason}{since}")
}

fn reason(word: impl Into<Cow<'static, str>>, sentence: String) -> Option<Reason> {
    Some(Reason { word: word.into(), sentence })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use pathsteer_crds::plan::Role;
    use pathsteer_crds::report::UplinkReport;

    fn root() -> PlanRoot {
        PlanRoot {
            version: 1,
            node: "rv-07".into(),
            role: Role::Edge,
            store_epoch: 1,
            generation: 7,
            fragments: BTreeMap::new(),
        }
    }

    fn report() -> NodeReport {
        let tunnel = |slot: u8| TunnelReport {
            slot,
            link: format!("psw{slot}a1"),
            peer: "dal-a".into(),
            handshake_age_seconds: Some(180),
            endpoint: None,
            rx_bytes: 0,
            tx_bytes: 0,
        };
        let tunnels = vec![tunnel(1), tunnel(2)];
        NodeReport { store_epoch: 1, generation: 7, verified: true, tunnels, ..NodeReport::default() }
    }

    fn declared_tunnels() -> Vec<Tunnel> {
        let tunnel = |slot: u8| Tunnel { slot, link: format!("psw{slot}a1"), peer: Some("dal-a".into()) };
        vec![tunnel(1), tunnel(2)]
    }

    fn word(obstacle: Option<Reason>) -> Option<Cow<'static, str>> {
        obstacle.map(|reason| reason.word)
    }

    #[test]
    fn a_node_is_ready_only_with_everything_in_place() {
        let (root, report, tunnels) = (root(), report(), declared_tunnels());
        let ready =
            Node { published: Some(&root), tunnels: &tunnels, report: Some(&report), connected: true, faulty: None };
        assert_eq!(ready.obstacle(), None);
        assert_eq!(word(Node { published: None, ..ready }.obstacle()).as_deref(), Some("PlanPending"));
        assert_eq!(word(Node { connected: false, ..ready }.obstacle()).as_deref(), Some("NotConnected"));
        assert_eq!(word(Node { report: None, ..ready }.obstacle()).as_deref(), Some("NoReport"));
        assert_eq!(word(Node { faulty: Some("x"), ..ready }.obstacle()).as_deref(), Some("PlanFaulty"));
        let keyless = vec![Tunnel { peer: None, ..tunnels[0].clone() }];
        assert_eq!(word(Node { tunnels: &keyless, ..ready }.obstacle()).as_deref(), Some("KeysPending"));
        for (epoch, generation) in [(1, 6), (0, 7), (2, 7)] {
            let old = NodeReport { store_epoch: epoch, generation, ..report.clone() };
            assert_eq!(word(Node { report: Some(&old), ..ready }.obstacle()).as_deref(), Some("PlanPending"));
        }
        let unverified = NodeReport { verified: false, ..report.clone() };
        assert_eq!(word(Node { report: Some(&unverified), ..ready }.obstacle()).as_deref(), Some("NotVerified"));
    }

    #[test]
    fn a_tunnel_that_is_down_says_what_its_uplink_has_lost() {
        let (root, mut report, tunnels) = (root(), report(), declared_tunnels());
        report.tunnels[1].handshake_age_seconds = None;
        let mut uplink = UplinkReport {
            slot: 2,
            link: "wan2".into(),
            address: None,
            gateway: None,
            resolvers: vec![],
            captive_portal: Some("https://portal.example/".into()),
            trouble: None,
        };
        let sentence = |report: &NodeReport| {
            let node =
                Node { published: Some(&root), tunnels: &tunnels, report: Some(report), connected: true, faulty: None };
            node.uplink_obstacle(2).map(|reason| reason.sentence).unwrap_or_default()
        };
        report.uplinks = vec![uplink.clone()];
        assert_eq!(
            sentence(&report),
            "no handshake in the last 180 s: slot 2 to dal-a (psw2a1), where its network has a captive portal, \
             https://portal.example/"
        );
        uplink.trouble = Some("the lease of 192.0.2.50 has expired: no DHCP server renewed it".into());
        report.uplinks = vec![uplink];
        assert!(
            sentence(&report)
                .ends_with("(psw2a1), where the lease of 192.0.2.50 has expired: no DHCP server renewed it")
        );
    }

    #[test]
    fn a_tunnel_without_a_fresh_handshake_names_itself_and_its_uplink_alone_is_not_ready() {
        let (root, mut report, tunnels) = (root(), report(), declared_tunnels());
        report.tunnels[1].handshake_age_seconds = Some(181);
        report.verified = false;
        report.not_as_declared = vec![wrong("link psup1/wan1", "gone")];
        let node =
            Node { published: Some(&root), tunnels: &tunnels, report: Some(&report), connected: true, faulty: None };
        assert_eq!(
            node.uplink_obstacle(2).unwrap().sentence,
            "no handshake in the last 180 s: slot 2 to dal-a (psw2a1)"
        );
        assert_eq!(node.uplink_obstacle(1).unwrap().sentence, "link psup1/wan1: gone (since 2026-11-29T20:00:00Z)");
        assert_eq!(node.inside_obstacle(), None);
        let never = NodeReport { tunnels: Vec::new(), verified: true, ..report.clone() };
        assert_eq!(word(Node { report: Some(&never), ..node }.uplink_obstacle(1)).as_deref(), Some("TunnelDown"));
    }

    fn wrong(object: &str, reason: &str) -> ObjectReport {
        let since = Moment { since: "2026-11-29T20:00:00Z".into(), since_uptime: 7 };
        ObjectReport { object: object.into(), reason: reason.into(), since }
    }

    #[test]
    fn a_kernel_that_cannot_be_observed_makes_nothing_of_the_node_ready() {
        let (root, mut report, tunnels) = (root(), report(), declared_tunnels());
        (report.verified, report.not_as_declared) = (false, vec![wrong("kernel", "netlink overrun")]);
        let node =
            Node { published: Some(&root), tunnels: &tunnels, report: Some(&report), connected: true, faulty: None };
        for obstacle in [node.obstacle(), node.uplink_obstacle(1), node.inside_obstacle()] {
            assert_eq!(word(obstacle).as_deref(), Some("NotAsDeclared"));
        }
    }

    #[test]
    fn a_problem_of_one_uplink_is_its_own_and_the_nodes_and_one_of_the_node_everybodys() {
        let (root, mut report, tunnels) = (root(), report(), declared_tunnels());
        let problem = |kind: &str, object: &str, slot| {
            let ObjectReport { object, reason, since } = wrong(object, "so it is");
            ProblemReport { kind: kind.into(), object, slot, reason, since }
        };
        report.problems = vec![problem("NoLease", "uplink 2", Some(2))];
        let node =
            Node { published: Some(&root), tunnels: &tunnels, report: Some(&report), connected: true, faulty: None };
        assert_eq!(word(node.problem(None)).as_deref(), Some("NoLease"));
        assert_eq!(node.problem(Some(2)).unwrap().sentence, "uplink 2: so it is (since 2026-11-29T20:00:00Z)");
        assert_eq!(node.problem(Some(1)), None);
        assert_eq!(node.obstacle(), None, "what will keep it from its work has not yet");
        let mut report = report.clone();
        report.problems.push(problem("NotSaved", "file plan.json", None));
        let node = Node { report: Some(&report), ..node };
        assert_eq!(word(node.problem(Some(1))).as_deref(), Some("NotSaved"));
    }
}

//! Namespaces: each forwards, and is switched on as a whole.

use pathsteer_crds::plan::LinkKind;

use super::View;

/// Without these a namespace drops what it should pass on, or what comes by a way its routes do not expect.
const NEEDED: [(&str, &str); 4] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // The kernel takes the larger of `all` and the interface's own, which is born with `default`.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

pub(super) fn check(view: &mut View<'_>) {
    let plan = view.plan;
    for netns in &plan.netns {
        let object = format!("netns {}", netns.name);
        if !plan.links.iter().any(|link| link.netns == netns.name && link.kind == LinkKind::Loopback) {
            view.finding("NamespaceNotReady", object.clone(), "its lo stays down: it would not even answer itself");
        }
        for (key, value) in NEEDED {
            let set = plan.sysctls.iter().any(|one| one.netns == netns.name && one.key == key && one.value == value);
            if !set {
                view.finding("NamespaceNotReady", object.clone(), format!("{key} is not {value}"));
            }
        }
    }
}

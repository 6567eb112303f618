//! Reverse-path filters that drop what comes by a card which the node itself would not answer by.

use std::{fs, path::Path};

use pathsteer_crds::plan::Role;

use super::{Finding, Known, card, home::Home, or_well};

/// Looks at cards that stay where they are and, on an anchor, at every way that tunnels may come in by.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let all = filter("all").unwrap_or(0);
    let mut findings = Vec::new();
    for link in card::in_place(known).into_iter().flat_map(|(card, veth)| [card, veth]) {
        if filter(&link).is_some_and(|own| is_strict(all, own)) {
            let remedy = format!(
                "sysctl -w net.ipv4.conf.{link}.rp_filter=2; the agent does so when it runs, and if this comes back then \
                 something in /etc/sysctl.d or a daemon sets it: what the internet answers by {link} is dropped"
            );
            findings.push(Finding::failure(format!("strict reverse-path filter on {link}"), remedy));
        }
    }
    let ways = &home.own().defaults;
    if known.plan.role == Role::Anchor && ways.len() > 1 {
        for link in ways.iter().filter(|link| filter(link).is_some_and(|own| is_strict(all, own))) {
            let remedy = format!(
                "sysctl -w net.ipv4.conf.{link}.rp_filter=2: tunnels that come in by {link} are dropped while another way \
                 is preferred"
            );
            findings.push(Finding::warning(format!("strict reverse-path filter on {link}"), remedy));
        }
    }
    or_well("reverse-path filters", findings)
}

/// The kernel takes the larger of both; 1 is strict, 2 loose (ip-sysctl.rst).
fn is_strict(all: u8, own: u8) -> bool {
    all.max(own) == 1
}

fn filter(link: &str) -> Option<u8> {
    let path = Path::new("/proc/sys/net/ipv4/conf").join(link).join("rp_filter");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_the_two_filters_decides_and_only_one_is_strict() {
        assert!(is_strict(1, 0) && is_strict(0, 1) && is_strict(1, 1));
        assert!(!is_strict(0, 0) && !is_strict(1, 2) && !is_strict(2, 1));
    }
}

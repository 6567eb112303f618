//! Who else configures the cards that the plan takes: NetworkManager, systemd-networkd, ifupdown, dhcpcd. Known by their
//! files. They do no harm to a card that is taken; they are in the way while it is at home.

mod networkmanager;

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Finding, Known, card,
    home::{Home, Link},
    or_well,
};

const NETWORKD: &str = "/run/systemd/netif/links";
const IFUPDOWN: &str = "/etc/network/interfaces";
const DHCPCD: &str = "/etc/dhcpcd.conf";

/// Looks at every card that is at home.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let cards: Vec<&Link> = known.taken().filter_map(|spec| card::find(spec, home)).collect();
    let names = |wanted: &dyn Fn(&Link) -> bool| -> Vec<String> {
        let mut names: Vec<String> = cards.iter().filter(|link| wanted(link)).map(|link| link.name.clone()).collect();
        names.sort();
        names
    };
    let mut findings = Vec::new();
    if let Some(settings) = networkmanager::settings() {
        let managed = names(&|link| !networkmanager::is_unmanaged(&settings, &link.name, link.mac.as_deref()));
        findings.extend(finding("NetworkManager", &managed, |managed| {
            let all: Vec<String> = managed.iter().map(|name| format!("interface-name:{name}")).collect();
            format!(
                "write /etc/NetworkManager/conf.d/90-pathsteer.conf with the lines `[keyfile]` and `unmanaged-devices+={};\
                 interface-name:ps*`, then systemctl reload NetworkManager",
                all.join(";")
            )
        }));
    }
    let managed = names(&|link| networkd(&Path::new(NETWORKD).join(link.index.to_string())));
    findings.extend(finding("systemd-networkd", &managed, |managed| {
        format!(
            "write /etc/systemd/network/05-pathsteer.network with the lines `[Match]`, `Name={}`, `[Link]` and `Unmanaged=yes`, \
             then networkctl reload",
            managed.join(" ")
        )
    }));
    let stanzas = interfaces(Path::new(IFUPDOWN));
    let managed = names(&|link| stanzas.iter().any(|(name, method)| *name == link.name && method != "manual"));
    findings.extend(finding("ifupdown", &managed, |managed| {
        let all: Vec<String> = managed.iter().map(|name| format!("`iface {name} inet manual`")).collect();
        format!("in {IFUPDOWN} (or what it sources) leave only {} of them", all.join(", "))
    }));
    if let Ok(settings) = fs::read_to_string(DHCPCD) {
        let managed = names(&|link| dhcpcd(&settings, &link.name));
        findings.extend(finding("dhcpcd", &managed, |managed| {
            format!("add the line `denyinterfaces {}` to {DHCPCD}, then restart dhcpcd", managed.join(" "))
        }));
    }
    or_well("nobody else configures the plan's cards", findings)
}

fn finding(who: &str, managed: &[String], remedy: impl FnOnce(&[String]) -> String) -> Option<Finding> {
    (!managed.is_empty()).then(|| Finding::warning(format!("{who} configures {}", managed.join(", ")), remedy(managed)))
}

/// What networkd says about a link (`networkctl`'s own source): without the file it does not run.
fn networkd(state: &Path) -> bool {
    let text = fs::read_to_string(state).unwrap_or_default();
    let setup = text.lines().find_map(|line| line.strip_prefix("ADMIN_STATE="));
    setup.is_some_and(|setup| setup != "unmanaged")
}

/// Interfaces and methods in `file` of ifupdown, and in the files that it sources.
fn interfaces(file: &Path) -> Vec<(String, String)> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let mut found = stanzas(&text);
    for pattern in text.lines().filter_map(|line| line.trim().strip_prefix("source ")) {
        found.extend(sourced(Path::new(pattern.trim())).iter().flat_map(|file| interfaces(file)));
    }
    for folder in text.lines().filter_map(|line| line.trim().strip_prefix("source-directory ")) {
        found.extend(sourced(&Path::new(folder.trim()).join("*")).iter().flat_map(|file| interfaces(file)));
    }
    found
}

/// Files of a pattern whose last part may have a `*`, in order of their names.
fn sourced(pattern: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let fits =
        |path: &PathBuf| path.file_name().is_some_and(|one| glob(&name.to_string_lossy(), &one.to_string_lossy()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| fits(path) && path.is_file()).collect();
    files.sort();
    files
}

/// `iface NAME inet METHOD` of every stanza.
fn stanzas(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|words| match words[..] {
            ["iface", name, _, method, ..] => Some((name.to_owned(), method.to_owned())),
            _ => None,
        })
        .collect()
}

/// Whether dhcpcd with these settings takes the interface `name` (dhcpcd.conf(5)).
fn dhcpcd(settings: &str, name: &str) -> bool {
    let patterns = |option: &str| -> Vec<String> {
        let lines = settings.lines().filter_map(|line| line.trim().strip_prefix(option));
        lines
            .filter(|rest| rest.starts_with(char::is_whitespace))
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    };
    let named = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, name));
    let allowed = patterns("allowinterfaces");
    !named(&patterns("denyinterfaces")) && (allowed.is_empty() || named(&allowed))
}

/// `*` stands for any characters, `?` for one.
fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(rest.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let mut others = text.chars();
            others.next().is_some_and(|one| wanted == '?' || one == wanted) && glob(rest.as_str(), others.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text) in [("wan1", "wan1"), ("wan*", "wan12"), ("*", ""), ("w?n1", "wan1"), ("*n*1", "wan11")] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("wan", "wan1"), ("wan1", "wan"), ("w?n", "wn"), ("*2", "wan1"), ("", "a")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn ifupdown_configures_what_has_a_stanza_of_another_method_than_manual() {
        let text = "auto wan1\n# iface lan0 inet dhcp\niface wan1 inet dhcp\n  metric 5\niface wan2 inet manual\n";
        let expected =
            [("wan1", "dhcp"), ("wan2", "manual")].map(|(name, method)| (name.to_owned(), method.to_owned()));
        assert_eq!(stanzas(text), expected);
    }

    #[test]
    fn dhcpcd_takes_what_is_not_denied() {
        assert!(dhcpcd("hostname\n", "wan1"));
        assert!(!dhcpcd("denyinterfaces veth* wan1\n", "wan1"));
        assert!(dhcpcd("denyinterfaces veth* wan1\n", "wan2") && dhcpcd("#denyinterfaces wan2", "wan2"));
        assert!(dhcpcd("allowinterfaces wan*", "wan2") && !dhcpcd("allowinterfaces eth*", "wan2"));
    }
}

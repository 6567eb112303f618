//! Which network card an uplink is: said in one word, by what stays the same when it is plugged in anew.

use crate::ownership;
use crate::plan::CardSpec;

/// The kernel's interface names have 15 characters (IFNAMSIZ 16 with the final zero).
const LONGEST_NAME: usize = 15;
/// What every namespace has one of, and what the kernel calls all interfaces together in its settings.
const NO_CARDS: [&str; 3] = ["lo", "all", "default"];
/// No interface name has a colon (`dev_valid_name` of the kernel), so these begin nothing else.
const BY_MAC: &str = "mac:";
const BY_BUS: &str = "bus:";

/// A card as a manifest or the agent's configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface<'a> {
    /// As `ip link` shows it.
    Name(&'a str),
    /// By its permanent MAC, in lower case.
    Mac(String),
    /// By a device on the way to it, as below `/sys/bus/*/devices`.
    Bus(&'a str),
}

impl<'a> Interface<'a> {
    /// Reads `wan1`, `mac:02:00:5e:10:00:01` or `bus:0000:03:00.0`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &'a str) -> Result<Interface<'a>, String> {
        if let Some(mac) = text.strip_prefix(BY_MAC) {
            return parse_mac(mac).map(Interface::Mac);
        }
        if let Some(bus) = text.strip_prefix(BY_BUS) {
            let well = !bus.is_empty() && bus.chars().all(|c| c.is_ascii_graphic() && c != '/');
            return if well { Ok(Interface::Bus(bus)) } else { Err(not_a_bus(bus)) };
        }
        if text.is_empty()
            || text.len() > LONGEST_NAME
            || text == "."
            || text == ".."
            || text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace())
        {
            return Err(format!(
                "`{text}` is not an interface name: 1 to {LONGEST_NAME} characters, no `/`, `:` or space"
            ));
        }
        if NO_CARDS.contains(&text) {
            return Err(format!("`{text}` is no card: name the interface as `ip link` shows it"));
        }
        if text.starts_with(ownership::PREFIX) {
            return Err(format!(
                "`{text}` starts with `{}`, which marks PathSteer's own interfaces: rename the interface",
                ownership::PREFIX
            ));
        }
        Ok(Interface::Name(text))
    }

    /// What it is called in the namespace of the uplink in `slot`: a card that is found by its name keeps that, any other
    /// has a name of ours, because the kernel may call it otherwise the next time.
    pub fn link(&self, slot: u8) -> String {
        match self {
            Interface::Name(name) => (*name).to_owned(),
            Interface::Mac(_) | Interface::Bus(_) => ownership::card_link(slot),
        }
    }

    /// How it is found and taken, where that is not by its name alone. `radio` takes the whole radio that it belongs to.
    pub fn card(&self, radio: bool) -> Option<CardSpec> {
        let (mac, bus) = match self {
            Interface::Name(_) if !radio => return None,
            Interface::Name(_) => (None, None),
            Interface::Mac(mac) => (Some(mac.clone()), None),
            Interface::Bus(bus) => (None, Some((*bus).to_owned())),
        };
        Some(CardSpec { mac, bus, radio })
    }
}

fn parse_mac(text: &str) -> Result<String, String> {
    let bytes: Vec<&str> = text.split(':').collect();
    let is_byte = |byte: &&str| byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit());
    if bytes.len() == 6 && bytes.iter().all(is_byte) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is not a MAC address: six bytes in hexadecimal, such as mac:02:00:5e:10:00:01"))
    }
}

fn not_a_bus(text: &str) -> String {
    format!(
        "`{text}` is not a device's place on its bus: write it as below /sys/bus/*/devices, such as bus:0000:03:00.0 or bus:1-2"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_named_by_name_mac_or_bus() {
        assert_eq!(Interface::parse("wan1"), Ok(Interface::Name("wan1")));
        assert_eq!(Interface::parse("mac:02:00:5E:10:00:01"), Ok(Interface::Mac("02:00:5e:10:00:01".into())));
        assert_eq!(Interface::parse("bus:0000:03:00.0"), Ok(Interface::Bus("0000:03:00.0")));
        assert_eq!(Interface::parse("bus:1-2:1.0"), Ok(Interface::Bus("1-2:1.0")));
    }

    #[test]
    fn what_is_none_of_them_is_refused_in_words() {
        for wrong in [
            "",
            ".",
            "a/b",
            "a b",
            "wan:1",
            "sixteen-letters-",
            "ps0",
            "lo",
            "mac:02:00",
            "mac:02:00:5g:10:00:01",
            "bus:",
            "bus:a/b",
        ] {
            let why = Interface::parse(wrong).unwrap_err();
            assert!(why.starts_with('`') && why.len() > 20, "{wrong}: {why}");
        }
    }

    #[test]
    fn only_a_card_found_by_its_name_keeps_it() {
        let of = |text| Interface::parse(text).unwrap();
        assert_eq!((of("wan1").link(2), of("wan1").card(false)), ("wan1".to_owned(), None));
        let radio = CardSpec { mac: None, bus: None, radio: true };
        assert_eq!((of("wlan0").link(2), of("wlan0").card(true)), ("wlan0".to_owned(), Some(radio)));
        let by_mac = CardSpec { mac: Some("02:00:5e:10:00:01".into()), bus: None, radio: false };
        let mac = of("mac:02:00:5e:10:00:01");
        assert_eq!((mac.link(2), mac.card(false)), ("psn2".to_owned(), Some(by_mac)));
    }
}

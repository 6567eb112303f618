//! NetworkManager's own configuration (NetworkManager.conf(5)), as far as it says which devices it leaves alone.

use std::{fs, path::Path};

use super::{glob, sourced};

/// Later ones go before earlier ones.
const FOLDERS: [&str; 3] =
    ["/usr/lib/NetworkManager/conf.d/*.conf", "/run/NetworkManager/conf.d/*.conf", "/etc/NetworkManager/conf.d/*.conf"];
const MAIN: &str = "/etc/NetworkManager/NetworkManager.conf";
/// Either shows that it is there.
const TRACES: [&str; 2] = ["/run/NetworkManager/NetworkManager.pid", "/etc/NetworkManager"];

/// Its configuration, every file, in the order in which they count; none where it is not installed.
pub fn settings() -> Option<String> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default() + "\n";
    let is_there = TRACES.iter().any(|trace| Path::new(trace).exists());
    let files = FOLDERS.map(|pattern| sourced(Path::new(pattern)));
    let [usr, run, etc] = files.map(|files| files.iter().map(|file| read(file)).collect::<String>());
    is_there.then(|| usr + &run + &read(Path::new(MAIN)) + &etc)
}

/// Whether `settings` say that the device is left alone.
pub fn is_unmanaged(settings: &str, name: &str, mac: Option<&str>) -> bool {
    let (mut section, mut devices) = (String::new(), String::new());
    let mut managed = None;
    let mut sections: Vec<(String, Option<bool>)> = Vec::new();
    for line in settings.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            title.clone_into(&mut section);
            if section.starts_with("device") {
                sections.push((String::new(), None));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match (section.as_str(), key) {
            ("keyfile", "unmanaged-devices") => value.clone_into(&mut devices),
            ("keyfile", "unmanaged-devices+") => devices += &format!(";{value}"),
            (section, "match-device") if section.starts_with("device") => {
                sections.last_mut().into_iter().for_each(|last| value.clone_into(&mut last.0));
            }
            (section, "managed") if section.starts_with("device") => {
                sections.last_mut().into_iter().for_each(|last| last.1 = Some(!["0", "false", "no"].contains(&value)));
            }
            _ => {}
        }
    }
    for (devices, is_managed) in sections {
        if matches(&devices, name, mac) {
            managed = managed.or(is_managed);
        }
    }
    matches(&devices, name, mac) || managed == Some(false)
}

/// Whether a list of devices holds this one, and does not take it out again.
fn matches(devices: &str, name: &str, mac: Option<&str>) -> bool {
    let is_it = |one: &str| {
        if let Some(pattern) = one.strip_prefix("interface-name:") {
            return pattern.strip_prefix('=').map_or_else(|| glob(pattern, name), |exact| exact == name);
        }
        let wanted = one.strip_prefix("mac:").unwrap_or(one);
        one == "*" || mac.is_some_and(|mac| mac.eq_ignore_ascii_case(wanted))
    };
    let all = || devices.split([';', ',']).map(str::trim).filter(|one| !one.is_empty());
    let excepted = all().filter_map(|one| one.strip_prefix("except:")).any(is_it);
    // only exceptions: everything else
    let mut wanted = all().filter(|one| !one.starts_with("except:")).peekable();
    !excepted && (wanted.peek().is_none() && !devices.is_empty() || wanted.any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmanaged(settings: &str) -> bool {
        is_unmanaged(settings, "wan1", Some("02:00:5e:10:00:01"))
    }

    #[test]
    fn a_device_is_managed_until_something_says_otherwise() {
        assert!(!unmanaged("[main]\nplugins=keyfile\n"));
        assert!(unmanaged("[keyfile]\nunmanaged-devices=interface-name:eth0;interface-name:wan1\n"));
        assert!(unmanaged("[keyfile]\nunmanaged-devices = interface-name:wan*\n"));
        assert!(unmanaged("[keyfile]\nunmanaged-devices=mac:02:00:5E:10:00:01\n"));
        assert!(unmanaged("[device-wan]\nmatch-device=interface-name:wan1\nmanaged=0\n"));
        assert!(!unmanaged("[device-lan]\nmatch-device=interface-name:lan*\nmanaged=0\n"));
        assert!(!unmanaged("[main]\nunmanaged-devices=interface-name:wan1\n"), "not in that section");
        assert!(!unmanaged("# [keyfile]\n#unmanaged-devices=interface-name:wan1\n"));
    }

    #[test]
    fn exceptions_and_later_files_count() {
        assert!(!unmanaged("[keyfile]\nunmanaged-devices=*,except:interface-name:wan1\n"));
        assert!(unmanaged("[keyfile]\nunmanaged-devices=*,except:type:gsm\n"));
        let first = "[keyfile]\nunmanaged-devices=interface-name:wan1\n";
        assert!(!unmanaged(&format!("{first}[keyfile]\nunmanaged-devices=interface-name:eth0\n")));
        assert!(unmanaged(&format!("{first}[keyfile]\nunmanaged-devices+=interface-name:eth0\n")));
    }
}

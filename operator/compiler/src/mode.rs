//! Modes that take part.

use std::collections::BTreeMap;

use pathsteer_crds::{Kind, ModeSpec};

use crate::resolve::Admission;

/// By name.
pub(crate) type Modes<'a> = BTreeMap<&'a str, &'a ModeSpec>;

pub(crate) fn admit<'a>(admission: &mut Admission<'a>) -> Modes<'a> {
    let mut modes = admission.diagnostics.sound(&admission.inventory.modes);
    modes.retain(|name, spec| admission.selected_sites(Kind::Mode, name, &spec.sites));
    modes
}

/// The mode of `site`: the first by name that names it, else the first that names none.
pub(crate) fn of<'a>(modes: &Modes<'a>, site: &str) -> Option<&'a ModeSpec> {
    let naming = modes.values().find(|mode| mode.sites.iter().any(|name| name == site));
    let general = || modes.values().find(|mode| mode.sites.is_empty());
    naming.or_else(general).copied()
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::ModeKind;

    use super::*;

    fn mode(mode: ModeKind, sites: &[&str]) -> ModeSpec {
        ModeSpec { sites: sites.iter().map(|site| (*site).to_owned()).collect(), mode, copies: 1 }
    }

    #[test]
    fn a_mode_that_names_the_site_wins_and_then_the_lowest_name() {
        let all = mode(ModeKind::Training, &[]);
        let (first, second) = (mode(ModeKind::Mirror, &["a", "b"]), mode(ModeKind::Tripwire, &["b"]));
        let modes = Modes::from([("1-all", &all), ("2-first", &first), ("3-second", &second)]);
        assert_eq!(of(&modes, "b").unwrap().mode, ModeKind::Mirror);
        assert_eq!(of(&modes, "c").unwrap().mode, ModeKind::Training);
        assert_eq!(of(&Modes::new(), "c"), None);
    }
}

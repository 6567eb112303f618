//! Cover: whether many elements together take everything that one would.

use ipnet::IpNet;
use pathsteer_crds::plan::Family;

use super::element::Element;

/// What fits an element, as the lowest and the highest value of each field: remote and local address, protocol, port
/// and DSCP. A box in five dimensions, of one address family.
type Extent = [(u128, u128); 5];

/// Cutting goes no further than this many pieces: then a policy that takes nothing goes unnoticed, which costs nobody
/// anything, while a policy for everything after a thousand others would cost a second.
const MOST_PIECES: usize = 256;

/// Whether every packet that fits `element` fits one of `others`; false if that is too much work to say.
pub(super) fn covers<'a>(others: impl Iterator<Item = &'a Element> + Clone, element: &Element) -> bool {
    Family::BOTH.into_iter().filter(|family| of_family(element, *family)).all(|family| {
        let mut rest = vec![extent(element, family)];
        for other in others.clone().filter(|other| of_family(other, family)) {
            let gone = extent(other, family);
            rest = rest.into_iter().flat_map(|piece| without(piece, &gone)).collect();
            if rest.is_empty() || rest.len() > MOST_PIECES {
                break;
            }
        }
        rest.is_empty()
    })
}

fn of_family(element: &Element, family: Family) -> bool {
    element.family.is_none_or(|own| own == family)
}

fn extent(element: &Element, family: Family) -> Extent {
    let everywhere = Family::everything(family);
    let network = |network: Option<IpNet>| addresses(network.unwrap_or(everywhere));
    let protocol = element.is.protocol.map_or((0, u8::MAX.into()), |own| (own.into(), own.into()));
    // Nothing has port 0.
    let ports = element.is.ports.map_or((1, u16::MAX.into()), |own| (own.first.into(), own.last.into()));
    let dscp = element.is.dscp.map_or((0, 63), |own| (own.into(), own.into()));
    [network(element.is.prefix), network(element.is.local), protocol, ports, dscp]
}

/// The pieces of `whole` that lie outside of `gone`.
fn without(mut whole: Extent, gone: &Extent) -> Vec<Extent> {
    if whole.iter().zip(gone).any(|(own, gone)| own.1 < gone.0 || gone.1 < own.0) {
        return vec![whole];
    }
    let mut pieces = Vec::new();
    for (field, (first, last)) in gone.iter().enumerate() {
        if whole[field].0 < *first {
            let mut below = whole;
            below[field].1 = first - 1;
            pieces.push(below);
            whole[field].0 = *first;
        }
        if whole[field].1 > *last {
            let mut above = whole;
            above[field].0 = last + 1;
            pieces.push(above);
            whole[field].1 = *last;
        }
    }
    pieces
}

/// The first and the last address of `network`.
pub(super) fn addresses(network: IpNet) -> (u128, u128) {
    match network {
        IpNet::V4(v4) => (v4.network().to_bits().into(), v4.broadcast().to_bits().into()),
        IpNet::V6(v6) => (v6.network().to_bits(), v6.broadcast().to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::PortRange;
    use pathsteer_crds::plan::{ClassElement, FlowTo};

    use super::*;

    fn element(prefix: Option<&str>, protocol: Option<u8>, ports: Option<(u16, u16)>) -> Element {
        let prefix = prefix.map(|prefix| prefix.parse::<IpNet>().unwrap());
        let ports = ports.map(|(first, last)| PortRange { first, last });
        let family = prefix.map(|prefix| Family::of(prefix.addr()));
        Element { family, is: ClassElement { prefix, protocol, ports, to: FlowTo::Direct, ..ClassElement::default() } }
    }

    fn together(others: &[Element], one: &Element) -> bool {
        covers(others.iter(), one)
    }

    #[test]
    fn what_none_takes_alone_several_take_together_and_not_if_one_is_missing() {
        let udp = Some(17);
        let by_ports = [element(None, udp, Some((1, 999))), element(None, udp, Some((1_000, 65_535)))];
        let by_prefix = [element(Some("0.0.0.0/1"), None, None), element(Some("128.0.0.0/1"), None, None)];
        let by_family = [element(Some("0.0.0.0/0"), udp, None), element(Some("::/0"), udp, None)];
        let wholes = [element(None, udp, None), element(Some("0.0.0.0/0"), udp, None), element(None, udp, None)];
        for (parts, whole) in [by_ports, by_prefix, by_family].iter().zip(&wholes) {
            assert!(together(parts, whole), "{parts:?}");
            for part in parts {
                assert!(!together(std::slice::from_ref(part), whole), "{part:?} alone");
            }
        }
    }

    #[test]
    fn nothing_is_taken_by_nobody_or_by_what_lies_beside_it() {
        let web = element(None, Some(6), Some((443, 443)));
        assert!(!together(&[], &web));
        assert!(!together(&[element(None, Some(17), Some((443, 443))), element(None, Some(6), Some((1, 442)))], &web));
        assert!(!together(&[element(Some("0.0.0.0/0"), None, None)], &web), "IPv6 is left");
    }

    #[test]
    fn what_would_take_too_long_is_not_taken() {
        let odd: Vec<Element> = (0..32_767).map(|one| element(None, None, Some((2 * one + 1, 2 * one + 1)))).collect();
        let even: Vec<Element> = (1..=32_767).map(|one| element(None, None, Some((2 * one, 2 * one)))).collect();
        let last = [element(None, None, Some((65_535, 65_535)))];
        assert!(!together(&[odd, even, last.into()].concat(), &element(None, None, None)));
    }
}

//! Profiles: well-known applications as sets of matches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::traffic_policy::{Match, PortRange, Protocol};

/// A well-known application. Its ports are the documented defaults of its server side; who has moved them writes their
/// own matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Telephony: SIP on 5060 (UDP, TCP) and 5061 (TLS), RFC 3261; RTP on UDP 10000-20000, the default range of
    /// Asterisk and most exchanges built on it.
    Sip,
    /// Cisco Webex meetings and calls: media on UDP 5004, 9000 and 33434-33598, TCP 5004.
    Webex,
    /// Zoom meetings: UDP 3478, 3479 and 8801-8810, TCP 8801 and 8802.
    Zoom,
    /// Consoles and the larger stores: UDP 3074-3076 (Xbox), 3478-3480 (PlayStation), 27000-27100 (Steam); TCP 3074.
    Games,
}

impl Profile {
    /// What the profile stands for, in order of protocol and port.
    pub fn matches(self) -> Vec<Match> {
        type Ports = &'static [(u16, u16)];
        let (tcp, udp): (Ports, Ports) = match self {
            Profile::Sip => (&[(5_060, 5_061)], &[(5_060, 5_060), (10_000, 20_000)]),
            Profile::Webex => (&[(5_004, 5_004)], &[(5_004, 5_004), (9_000, 9_000), (33_434, 33_598)]),
            Profile::Zoom => (&[(8_801, 8_802)], &[(3_478, 3_479), (8_801, 8_810)]),
            Profile::Games => (&[(3_074, 3_074)], &[(3_074, 3_076), (3_478, 3_480), (27_000, 27_100)]),
        };
        let one = |protocol, ports: Ports| Match {
            protocol: Some(protocol),
            ports: ports.iter().map(|&(first, last)| PortRange { first, last }).collect(),
            ..Match::default()
        };
        vec![one(Protocol::Tcp, tcp), one(Protocol::Udp, udp)]
    }
}

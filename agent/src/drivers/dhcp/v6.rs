//! DHCPv6 (RFC 8415): an address where routers say that there are any, else who resolves names where they say that.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    time::Duration,
};

use ipnet::{IpNet, Ipv6Net};
use mozim::{DhcpV6Client, DhcpV6Config, DhcpV6Lease, DhcpV6Mode, DhcpV6State};
use pathsteer_agent_core::{Lease, Lender};
use tokio::{net::UdpSocket, sync::watch, time::timeout};

use super::{ATTEMPT, RETRY, Uplink, router::Flags};
use crate::sys::clock;

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const INFORMATION_REQUEST: u8 = 11;
const REPLY: u8 = 7;
const OPTION_REQUEST: u16 = 6;
const ELAPSED_TIME: u16 = 8;
const RESOLVERS: u16 = 23;
const REFRESH_TIME: u16 = 32;
/// IRT_DEFAULT and IRT_MINIMUM.
const REFRESH: Duration = Duration::from_secs(86_400);
const SOONEST_REFRESH: Duration = Duration::from_secs(600);
/// INF_TIMEOUT: how long an answer may take before the question is said again.
const ANSWER: Duration = Duration::from_secs(1);

/// Asks for what the routers' last word says, or for an address whatever they say.
pub async fn ask_for_ever(uplink: &Uplink, mut says: watch::Receiver<Flags>) {
    loop {
        let flags = *says.borrow_and_update();
        let wants_address = uplink.spec.ipv6 || flags.managed;
        tokio::select! {
            () = lease_for_ever(uplink), if wants_address => {}
            () = inform_for_ever(uplink), if !wants_address && flags.other => {}
            // the end of whoever listens to routers is the end of this uplink's thread
            changed = says.changed() => if changed.is_err() { return },
        }
    }
}

async fn lease_for_ever(uplink: &Uplink) {
    loop {
        if let Err(error) = lease(uplink).await {
            tracing::debug!(slot = uplink.spec.slot, link = uplink.spec.link, %error, "DHCPv6");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Obtains a lease and renews it until something fails. What the client does not hear in time it asks for anew: the
/// server gives the same address again as long as it has it.
async fn lease(uplink: &Uplink) -> io::Result<()> {
    let config = DhcpV6Config::new(&uplink.spec.link, DhcpV6Mode::NonTemporaryAddresses);
    let mut client = DhcpV6Client::init(config, None).await.map_err(io::Error::other)?;
    let mut patience = ATTEMPT;
    loop {
        let asked = clock::since_boot();
        let state = timeout(patience, client.run()).await.map_err(|_| io::Error::other("nobody answers"))?;
        patience = ATTEMPT;
        if let DhcpV6State::Done(lent) = state.map_err(io::Error::other)? {
            let lease = lease_of(&lent, asked);
            tracing::info!(slot = uplink.spec.slot, address = ?lease.address, "lease");
            uplink.tell(Lender::Dhcpv6, Some(lease));
            patience = Duration::MAX;
        }
    }
}

fn lease_of(lent: &DhcpV6Lease, since: Duration) -> Lease {
    // options as they travel: code and length, two bytes each, then the value
    let options = lent.get_option_raw(RESOLVERS).unwrap_or_default();
    Lease {
        // which other addresses are on the link, routers say
        address: Some(IpNet::V6(Ipv6Net::from(lent.address))),
        gateway: None,
        resolvers: options.iter().filter_map(|option| option.get(4..)).flat_map(addresses).collect(),
        captive_portal: None,
        expires: since + Duration::from_secs(lent.valid_time_sec.into()),
    }
}

fn addresses(value: &[u8]) -> Vec<IpAddr> {
    let each = value.chunks_exact(16).filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok());
    each.map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))).collect()
}

async fn inform_for_ever(uplink: &Uplink) {
    let mut pause = RETRY;
    loop {
        match inform(uplink).await {
            Ok((resolvers, refresh)) => {
                tracing::info!(slot = uplink.spec.slot, ?resolvers, "DHCPv6 says");
                // twice, so that what a server says late does not lapse before
                let expires = clock::since_boot() + 2 * refresh;
                let lease = Lease { address: None, gateway: None, resolvers, captive_portal: None, expires };
                uplink.tell(Lender::Dhcpv6, Some(lease));
                pause = refresh;
            }
            Err(error) => {
                tracing::debug!(slot = uplink.spec.slot, link = uplink.spec.link, %error, "DHCPv6");
                pause = ATTEMPT.min(pause.max(ANSWER) * 2);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Who resolves names, and when to ask again.
async fn inform(uplink: &Uplink) -> io::Result<(Vec<IpAddr>, Duration)> {
    let at = |address, port| SocketAddrV6::new(address, port, 0, uplink.card.index);
    let socket = UdpSocket::bind(at(Ipv6Addr::UNSPECIFIED, CLIENT_PORT)).await?;
    socket.bind_device(Some(uplink.spec.link.as_bytes()))?;
    // tells the answer to this question from one to another
    let [.., a, b, c] = clock::since_boot().as_nanos().to_be_bytes();
    let question = [
        &[INFORMATION_REQUEST, a, b, c][..],
        &option(ELAPSED_TIME, &[0, 0]),
        &option(OPTION_REQUEST, &[RESOLVERS, REFRESH_TIME].map(u16::to_be_bytes).concat()),
    ]
    .concat();
    socket.send_to(&question, at(ALL_SERVERS, SERVER_PORT)).await?;
    let answered = timeout(ANSWER, async {
        let mut buffer = [0; 1_500];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if buffer[..4] == [REPLY, a, b, c] {
                break read(&buffer[4..length]).ok_or_else(|| io::Error::other("the answer is cut short"));
            }
        }
    });
    answered.await.map_err(|_| io::Error::other("nobody answers"))?
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// Reads the options of an answer; nothing if they are cut short.
fn read(mut options: &[u8]) -> Option<(Vec<IpAddr>, Duration)> {
    let (mut resolvers, mut refresh) = (Vec::new(), REFRESH);
    while let [a, b, c, d, rest @ ..] = options {
        let (code, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let value = rest.get(..length)?;
        match code {
            RESOLVERS => resolvers.extend(addresses(value)),
            REFRESH_TIME => refresh = Duration::from_secs(u32::from_be_bytes(value.try_into().ok()?).into()),
            _ => {}
        }
        options = &rest[length..];
    }
    options.is_empty().then(|| (resolvers, refresh.max(SOONEST_REFRESH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_resolvers_and_when_to_ask_again_not_too_soon() {
        let resolver = Ipv6Addr::LOCALHOST;
        let answer = [option(1, &[1, 2, 3]), option(RESOLVERS, &resolver.octets())].concat();
        assert_eq!(read(&answer), Some((vec![IpAddr::V6(resolver)], REFRESH)));
        let hurried = [answer.clone(), option(REFRESH_TIME, &[0, 0, 0, 1])].concat();
        assert_eq!(read(&hurried).map(|(_, refresh)| refresh), Some(SOONEST_REFRESH));
        assert_eq!(read(&answer[..answer.len() - 1]), None, "cut short");
    }
}

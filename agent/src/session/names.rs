//! The operator's name, resolved over one uplink: by the resolvers of that uplink, asked from inside its namespace.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    time::Duration,
};

use pathsteer_agent_core::Resolvers;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::sys::netns::{self, Netns};

const PORT: u16 = 53;
/// The slowest satellite answers in two of these; then the question is said once more.
const PATIENCE: Duration = Duration::from_millis(1_000);
const TIMES: usize = 2;

/// The addresses of `host`, found out inside `netns`: what the node's `/etc/hosts` says of it, else what the first of
/// `resolvers` to know it says, else what the node's own resolvers say, asked by the same way.
///
/// # Errors
/// Nobody knows it, or the namespace is gone.
pub fn resolve(netns: &Netns, resolvers: &Resolvers, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let known = in_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    let (host, resolvers) = (host.to_owned(), resolvers.clone());
    netns.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for address in &resolvers.addresses {
            let server = server(*address, &resolvers.link);
            match runtime.block_on(ask(server, &host)) {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => tracing::debug!(%server, host, "has no address"),
                Err(error) => tracing::debug!(%server, host, %error, "not resolved"),
            }
        }
        Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    })
}

/// Addresses of a host in a file as hosts(5) has it.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let named = lines.filter_map(|mut words| {
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    named.collect()
}

fn server(address: IpAddr, link: &str) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, PORT, 0, netns::ifindex(link).unwrap_or(0)).into()
        }
        other => SocketAddr::new(other, PORT),
    }
}

/// Asks for addresses of both families at once. One family that is not answered does not take the other along.
async fn ask(server: SocketAddr, host: &str) -> io::Result<Vec<IpAddr>> {
    let (v6, v4) = tokio::join!(question(server, host, TYPE::AAAA), question(server, host, TYPE::A));
    match (v6, v4) {
        (Ok(v6), Ok(v4)) => Ok([v6, v4].concat()),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.is_empty() => Ok(one),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

async fn question(server: SocketAddr, host: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    // A connected socket hears this server alone; the port, which is the kernel's choice, and this number are what
    // another would have to guess. Who answers to the name has to prove it by certificate all the same.
    let mut packet = Packet::new_query(RandomState::new().hash_one((host, server)) as u16);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(host).map_err(io::Error::other)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false));
    let query = packet.build_bytes_vec().map_err(io::Error::other)?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut buffer = [0; 4_096];
    for _ in 0..TIMES {
        socket.send(&query).await?;
        let answered = timeout(PATIENCE, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(answer) = Answer::read(&buffer[..length], &packet) {
                    break io::Result::Ok(answer);
                }
            }
        });
        match answered.await {
            Ok(Ok(Answer::Whole(addresses))) => return Ok(addresses),
            Ok(Ok(Answer::Truncated)) => return by_tcp(server, &query, &packet).await,
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

async fn by_tcp(server: SocketAddr, query: &[u8], packet: &Packet<'_>) -> io::Result<Vec<IpAddr>> {
    let answered = timeout(2 * PATIENCE, async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    });
    let answer = answered.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    match Answer::read(&answer, packet) {
        Some(Answer::Whole(addresses)) => Ok(addresses),
        _ => Err(io::Error::other("the answer does not fit the question")),
    }
}

enum Answer {
    Whole(Vec<IpAddr>),
    Truncated,
}

impl Answer {
    /// What `bytes` answer to `query`, if they do.
    fn read(bytes: &[u8], query: &Packet<'_>) -> Option<Answer> {
        let packet = Packet::parse(bytes).ok()?;
        let same = |(asked, said): (&Question<'_>, &Question<'_>)| {
            asked.qtype == said.qtype && asked.qname.to_string().eq_ignore_ascii_case(&said.qname.to_string())
        };
        let fits = packet.id() == query.id()
            && packet.has_flags(PacketFlag::RESPONSE)
            && packet.questions.len() == query.questions.len()
            && query.questions.iter().zip(&packet.questions).all(same);
        if !fits {
            return None;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Some(Answer::Truncated);
        }
        // a resolver has followed aliases itself: whatever they lead to is an answer
        let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::V4(a.address.into())),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
            _ => None,
        });
        Some(Answer::Whole(addresses.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_as_others_read_it() {
        let text = "127.0.0.1 localhost\n # 192.0.2.9 operator.example\n192.0.2.1\tx Operator.Example # here\n\
                    2001:db8::1 operator.example\nnonsense operator.example\n";
        let found = in_hosts(text, "operator.example");
        assert_eq!(found, ["192.0.2.1", "2001:db8::1"].map(|address| address.parse::<IpAddr>().unwrap()));
        assert_eq!(in_hosts(text, "example"), Vec::<IpAddr>::new());
    }
}

//! Who is at the other end, as its certificate says, and what it may do.

use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Problem;
use crate::pki::Party;

/// The party at the other end of a connection. Its certificate was verified before a request could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Common name.
    pub name: String,
    /// None if the organisation is none we know.
    pub party: Option<Party>,
}

impl Peer {
    /// The party that `certificate` speaks of.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Peer> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let party = subject.iter_organization().next().and_then(|o| Party::from_organisation(o.as_str().ok()?));
        Some(Peer { name, party })
    }
}

/// The node whose certificate was shown. Nobody else gets past this extractor, and a handler that has it can only
/// work for that node: no request names one.
pub struct NodeName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for NodeName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Peer>() {
            Some(Peer { name, party: Some(Party::Node) }) => Ok(NodeName(name.clone())),
            _ => Err(forbidden("sessions are for nodes", Party::Node)),
        }
    }
}

/// Lets users pass.
pub async fn users_only(request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Peer>() {
        Some(Peer { party: Some(Party::User), .. }) => Ok(next.run(request).await),
        _ => Err(forbidden("this is for users", Party::User)),
    }
}

fn forbidden(what: &str, party: Party) -> Problem {
    let detail = format!(
        "{what}: show a certificate with organisation `{}` (`pathsteer-operator issue` makes one)",
        party.organisation()
    );
    Problem::new(StatusCode::FORBIDDEN, detail)
}

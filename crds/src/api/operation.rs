//! Everything a user may ask of the API. The router is built from this list and the description too, so that neither has
//! what the other lacks.

use crate::Kind;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    List(Kind),
    Create(Kind),
    Get(Kind),
    Replace(Kind),
    Patch(Kind),
    Delete(Kind),
    Watch(Kind),
    Apply,
    ListEvents,
    WatchEvents,
    ListPaths,
    ListNodes,
    GetNode,
    GetNodeLog,
    GetPlan,
    Healthz,
    Readyz,
    Version,
    OpenApi,
}

/// An HTTP method that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As OpenAPI writes it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Put => "put",
            Method::Patch => "patch",
            Method::Delete => "delete",
        }
    }
}

impl Operation {
    /// All of them: of kinds first, in the order of kinds.
    pub fn all() -> Vec<Operation> {
        use Operation::{
            Apply, Create, Delete, Get, GetNode, GetNodeLog, GetPlan, Healthz, List, ListEvents, ListNodes, ListPaths,
            OpenApi, Patch, Readyz, Replace, Version, Watch, WatchEvents,
        };
        let of_kinds = Kind::ALL.into_iter().flat_map(|kind| {
            [List(kind), Create(kind), Get(kind), Replace(kind), Patch(kind), Delete(kind), Watch(kind)]
        });
        let others = [
            Apply,
            ListEvents,
            WatchEvents,
            ListPaths,
            ListNodes,
            GetNode,
            GetNodeLog,
            GetPlan,
            Healthz,
            Readyz,
            Version,
            OpenApi,
        ];
        of_kinds.chain(others).collect()
    }

    pub fn method(self) -> Method {
        match self {
            Operation::Create(_) | Operation::Apply => Method::Post,
            Operation::Replace(_) => Method::Put,
            Operation::Patch(_) => Method::Patch,
            Operation::Delete(_) => Method::Delete,
            Operation::List(_)
            | Operation::Get(_)
            | Operation::Watch(_)
            | Operation::ListEvents
            | Operation::WatchEvents
            | Operation::ListPaths
            | Operation::ListNodes
            | Operation::GetNode
            | Operation::GetNodeLog
            | Operation::GetPlan
            | Operation::Healthz
            | Operation::Readyz
            | Operation::Version
            | Operation::OpenApi => Method::Get,
        }
    }

    /// With names in braces where one is to be put in.
    pub fn path(self) -> String {
        match self {
            Operation::List(kind) | Operation::Create(kind) => format!("/v1/{}", kind.plural()),
            Operation::Get(kind) | Operation::Replace(kind) | Operation::Patch(kind) | Operation::Delete(kind) => {
                let name = if kind.is_sited() { "{site}/{name}" } else { "{name}" };
                format!("/v1/{}/{name}", kind.plural())
            }
            Operation::Watch(kind) => format!("/v1/watch/{}", kind.plural()),
            Operation::Apply => "/v1/apply".to_owned(),
            Operation::ListEvents => "/v1/events".to_owned(),
            Operation::WatchEvents => "/v1/watch/events".to_owned(),
            Operation::ListPaths => "/v1/paths".to_owned(),
            Operation::ListNodes => "/v1/nodes".to_owned(),
            Operation::GetNode => "/v1/nodes/{name}".to_owned(),
            Operation::GetNodeLog => "/v1/nodes/{name}/logs".to_owned(),
            Operation::GetPlan => "/v1/plans/{name}".to_owned(),
            Operation::Healthz => "/v1/healthz".to_owned(),
            Operation::Readyz => "/v1/readyz".to_owned(),
            Operation::Version => "/v1/version".to_owned(),
            Operation::OpenApi => "/v1/openapi.json".to_owned(),
        }
    }

    /// Whether nodes may ask it too, and before the store was read.
    pub fn is_open(self) -> bool {
        matches!(self, Operation::Healthz | Operation::Readyz | Operation::Version | Operation::OpenApi)
    }

    /// Whether the answer goes on until the client ends it.
    pub fn is_stream(self) -> bool {
        matches!(self, Operation::Watch(_) | Operation::WatchEvents)
    }
}

//! The key layout in etcd: a public, versioned contract. Whatever is put at a spec key with plain `etcdctl` is
//! treated like an object applied.

use crate::Kind;

/// Everything of ours lies below this.
pub const ROOT: &str = "/pathsteer/v1/";

/// `spec/<plural>/<name>`: what a person declared; JSON of the object without status and resourceVersion.
pub fn spec(kind: Kind, key: &str) -> String {
    format!("{ROOT}spec/{}/{key}", kind.plural())
}

/// `status/<plural>/<name>`: what the operator says about it.
pub fn status(kind: Kind, key: &str) -> String {
    format!("{ROOT}status/{}/{key}", kind.plural())
}

/// `admitted/<plural>/<name>`: its last valid version, compiled while the newest is invalid.
pub fn admitted(kind: Kind, key: &str) -> String {
    format!("{ROOT}admitted/{}/{key}", kind.plural())
}

/// `deleting/<plural>/<name>`: somebody means its spec to be gone. Written with the deletion by whoever deletes through
/// the API, or by hand with any value; removed once the object is forgotten. Many specs that vanish without it are
/// kept in force.
pub fn deleting(kind: Kind, key: &str) -> String {
    format!("{ROOT}deleting/{}/{key}", kind.plural())
}

/// There while objects whose specs have vanished are kept in force: JSON that names them. Whoever means them to go puts
/// [`CONFIRMED`] here.
pub const GUARD: &str = "/pathsteer/v1/guard";

/// What a person puts into [`GUARD`] to let go what it names.
pub const CONFIRMED: &str = "confirmed";

/// `allocations/…`: numbers given out once and kept.
pub const ALLOCATIONS: &str = "/pathsteer/v1/allocations/all";

/// The store epoch (decimal): raised when the store's revisions ran backwards. Absent means 1.
pub const EPOCH: &str = "/pathsteer/v1/allocations/epoch";

/// `events/<time>-<number>`: what has happened to objects, JSON, in the order of time; `time` is RFC 3339 in UTC with
/// microseconds.
pub fn event(id: &str) -> String {
    format!("{ROOT}events/{id}")
}

/// Everything below belongs to one node.
pub fn node(node: &str) -> String {
    format!("{ROOT}nodes/{node}/")
}

/// The plan's root: written last, names the fragments by hash.
pub fn plan_root(node: &str) -> String {
    format!("{ROOT}nodes/{node}/plan/root")
}

/// One content-addressed fragment of a plan.
pub fn plan_fragment(node: &str, sha256: &str) -> String {
    format!("{ROOT}nodes/{node}/plan/fragments/{sha256}")
}

/// There when the node's plan was withdrawn because its Site or Anchor was deleted; gone when it has a plan again.
/// A missing root alone says nothing: a store that lost its data has no roots either.
pub fn plan_withdrawn(node: &str) -> String {
    format!("{ROOT}nodes/{node}/plan/withdrawn")
}

/// The node's latest report.
pub fn report(node: &str) -> String {
    format!("{ROOT}nodes/{node}/report/status")
}

/// The node's identity facts.
pub fn identity(node: &str) -> String {
    format!("{ROOT}nodes/{node}/report/identity")
}

/// Kind and object key of a spec key, if it is one.
pub fn parse_spec(key: &str) -> Option<(Kind, &str)> {
    parse(key, "spec")
}

/// Kind and object key of a key in `folder` (`spec`, `status`, `admitted`, `deleting`), if it is one.
pub fn parse<'a>(key: &'a str, folder: &str) -> Option<(Kind, &'a str)> {
    let below = key.strip_prefix(ROOT)?.strip_prefix(folder)?.strip_prefix('/')?;
    let (plural, name) = below.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural)?;
    Some((kind, name))
}

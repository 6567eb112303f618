//! The kinds, and the object that wraps each kind's spec.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::meta::{API_VERSION, Metadata, Status};
use crate::{AnchorSpec, FabricSpec, ModeSpec, OverrideSpec, SiteSpec, TrafficPolicySpec, UplinkSpec, VlanSpec};

/// Every kind a manifest may have, in the order in which `apply` writes them (what is referred to comes first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    Fabric,
    Anchor,
    Site,
    Uplink,
    Vlan,
    TrafficPolicy,
    Mode,
    Override,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Fabric,
        Kind::Anchor,
        Kind::Site,
        Kind::Uplink,
        Kind::Vlan,
        Kind::TrafficPolicy,
        Kind::Mode,
        Kind::Override,
    ];

    /// As in `kind:` of a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Fabric => "Fabric",
            Kind::Anchor => "Anchor",
            Kind::Site => "Site",
            Kind::Uplink => "Uplink",
            Kind::Vlan => "Vlan",
            Kind::TrafficPolicy => "TrafficPolicy",
            Kind::Mode => "Mode",
            Kind::Override => "Override",
        }
    }

    /// As in store keys, API paths and on the command line.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Fabric => "fabrics",
            Kind::Anchor => "anchors",
            Kind::Site => "sites",
            Kind::Uplink => "uplinks",
            Kind::Vlan => "vlans",
            Kind::TrafficPolicy => "trafficpolicies",
            Kind::Mode => "modes",
            Kind::Override => "overrides",
        }
    }

    /// Whether objects of this kind belong to a Site and are named `<site>/<name>`.
    pub fn is_sited(self) -> bool {
        matches!(self, Kind::Uplink | Kind::Vlan)
    }

    /// The kind with this plural, singular or kind name, whatever the case.
    pub fn parse(word: &str) -> Option<Kind> {
        let word = word.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| kind.plural() == word || kind.name().to_ascii_lowercase() == word)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A spec type, and which kind it is the spec of.
pub trait Resource: Serialize + DeserializeOwned + JsonSchema + Clone + PartialEq + std::fmt::Debug {
    const KIND: Kind;

    /// What is wrong with this spec seen by itself: `(field path below spec, message with the fix)`.
    /// References to other objects are the compiler's to check.
    fn check(&self) -> Vec<(String, String)>;
}

/// One object of a known kind, as written in a manifest and as the API answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object<S> {
    /// Always `pathsteer.io/v1alpha1`.
    pub api_version: String,
    pub kind: Kind,
    pub metadata: Metadata,
    pub spec: S,
    /// Written by the server alone; refused in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl<S: Resource> Object<S> {
    /// An object with this name (and site, for Uplink and Vlan) and spec, as a person would write it.
    pub fn new(site: Option<&str>, name: &str, spec: S) -> Self {
        Object {
            api_version: API_VERSION.to_owned(),
            kind: S::KIND,
            metadata: Metadata { name: name.to_owned(), site: site.map(str::to_owned), ..Metadata::default() },
            spec,
            status: None,
        }
    }
}

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnyObject {
    Fabric(Object<FabricSpec>),
    Anchor(Object<AnchorSpec>),
    Site(Object<SiteSpec>),
    Uplink(Object<UplinkSpec>),
    Vlan(Object<VlanSpec>),
    TrafficPolicy(Object<TrafficPolicySpec>),
    Mode(Object<ModeSpec>),
    Override(Object<OverrideSpec>),
}

/// Runs `$body` with `$object` bound to the typed object inside an [`AnyObject`].
macro_rules! each_object {
    ($any:expr, $object:ident => $body:expr) => {
        match $any {
            AnyObject::Fabric($object) => $body,
            AnyObject::Anchor($object) => $body,
            AnyObject::Site($object) => $body,
            AnyObject::Uplink($object) => $body,
            AnyObject::Vlan($object) => $body,
            AnyObject::TrafficPolicy($object) => $body,
            AnyObject::Mode($object) => $body,
            AnyObject::Override($object) => $body,
        }
    };
}

impl AnyObject {
    pub fn kind(&self) -> Kind {
        each_object!(self, object => object.kind)
    }

    pub fn api_version(&self) -> &str {
        each_object!(self, object => &object.api_version)
    }

    pub fn metadata(&self) -> &Metadata {
        each_object!(self, object => &object.metadata)
    }

    pub fn metadata_mut(&mut self) -> &mut Metadata {
        each_object!(self, object => &mut object.metadata)
    }

    pub fn status(&self) -> Option<&Status> {
        each_object!(self, object => object.status.as_ref())
    }

    pub fn set_status(&mut self, status: Option<Status>) {
        each_object!(self, object => object.status = status);
    }

    /// `name`, or `site/name` for kinds that belong to a site: unique within the kind.
    pub fn key(&self) -> String {
        let metadata = self.metadata();
        match &metadata.site {
            Some(site) => format!("{site}/{}", metadata.name),
            None => metadata.name.clone(),
        }
    }

    /// What is wrong with this object seen by itself: `(field path from the root, message with the fix)`.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = self.check_metadata();
        let spec = each_object!(self, object => object.spec.check());
        problems.extend(spec.into_iter().map(|(path, message)| (format!("spec.{path}"), message)));
        problems
    }

    fn check_metadata(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let (kind, metadata) = (self.kind(), self.metadata());
        let mut name = |path: &str, value: &str| {
            if !is_dns_label(value) {
                problems.push((path.to_owned(), format!(
                    "`{value}` is not a valid name: use 1 to 63 lower-case letters, digits and `-`, starting and ending with a letter or digit"
                )));
            }
        };
        name("metadata.name", &metadata.name);
        if let Some(site) = &metadata.site {
            name("metadata.site", site);
        }
        match (&metadata.site, kind.is_sited()) {
            (None, true) => problems.push((
                "metadata.site".to_owned(),
                format!("{kind} belongs to a site: add `site: <name of the Site>` under metadata"),
            )),
            (Some(_), false) => {
                problems.push(("metadata.site".to_owned(), format!("{kind} does not belong to a site: remove `site`")))
            }
            _ => {}
        }
        problems
    }

    /// The object of kind `kind` that `deserializer` holds; unknown fields are refused.
    ///
    /// # Errors
    /// The first thing that does not fit, in the words of the deserializer.
    pub fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<AnyObject, D::Error> {
        Ok(match kind {
            Kind::Fabric => AnyObject::Fabric(Object::deserialize(deserializer)?),
            Kind::Anchor => AnyObject::Anchor(Object::deserialize(deserializer)?),
            Kind::Site => AnyObject::Site(Object::deserialize(deserializer)?),
            Kind::Uplink => AnyObject::Uplink(Object::deserialize(deserializer)?),
            Kind::Vlan => AnyObject::Vlan(Object::deserialize(deserializer)?),
            Kind::TrafficPolicy => AnyObject::TrafficPolicy(Object::deserialize(deserializer)?),
            Kind::Mode => AnyObject::Mode(Object::deserialize(deserializer)?),
            Kind::Override => AnyObject::Override(Object::deserialize(deserializer)?),
        })
    }

    /// The object of kind `kind` that `json` holds.
    ///
    /// # Errors
    /// The first thing that does not fit, as serde_json words it.
    pub fn from_json(kind: Kind, json: &str) -> Result<AnyObject, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let object = Self::of_kind(kind, &mut deserializer)?;
        deserializer.end()?;
        Ok(object)
    }
}

/// From JSON (or any other format that holds `kind` as text), by the kind the object itself names.
impl<'de> Deserialize<'de> for AnyObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = serde_json::Value::deserialize(deserializer)?;
        let kind = Kind::deserialize(&value["kind"]).map_err(D::Error::custom)?;
        AnyObject::of_kind(kind, value).map_err(D::Error::custom)
    }
}

fn is_dns_label(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && edge(name.chars().next())
        && edge(name.chars().last())
}

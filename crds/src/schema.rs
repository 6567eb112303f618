//! JSON Schema (2020-12) of everything that crosses a process boundary: for editors, for other people's tools, and
//! for naming every missing field of a manifest at once.

mod part;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

pub use part::{Choice, Part};

use crate::api::openapi;
use crate::meta::API_VERSION;
use crate::plan::NodePlan;
use crate::report::NodeReport;
use crate::{
    AnchorSpec, FabricSpec, Kind, ModeSpec, Object, OverrideSpec, Resource, SiteSpec, TrafficPolicySpec, UplinkSpec,
    VlanSpec,
};

/// Name of the file in `schemas/` to the schema it holds, as pretty JSON with a final newline.
pub fn files() -> BTreeMap<String, String> {
    let kinds = Kind::ALL.map(|kind| (kind.name().to_lowercase(), of_kind(kind)));
    let nodes = [("nodeplan", of::<NodePlan>()), ("nodereport", of::<NodeReport>())];
    let schemas = kinds
        .into_iter()
        .chain(nodes.map(|(name, schema)| (name.to_owned(), schema)))
        .map(|(name, schema)| (format!("{name}.schema.json"), format!("{:#}\n", schema.to_value())));
    schemas.chain([("openapi.json".to_owned(), format!("{:#}\n", openapi::document()))]).collect()
}

/// The schema of a manifest of this kind.
pub fn of_kind(kind: Kind) -> Schema {
    match kind {
        Kind::Fabric => of_object::<FabricSpec>(),
        Kind::Anchor => of_object::<AnchorSpec>(),
        Kind::Site => of_object::<SiteSpec>(),
        Kind::Uplink => of_object::<UplinkSpec>(),
        Kind::Vlan => of_object::<VlanSpec>(),
        Kind::TrafficPolicy => of_object::<TrafficPolicySpec>(),
        Kind::Mode => of_object::<ModeSpec>(),
        Kind::Override => of_object::<OverrideSpec>(),
    }
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// An object's schema, narrowed to what its kind allows beyond what the Rust types say.
fn of_object<S: Resource>() -> Schema {
    let kind = S::KIND;
    let mut schema = of::<Object<S>>();
    schema.insert("title".to_owned(), kind.name().into());
    let mut narrow = |pointer: &str, keyword: &str, value: Value| {
        let part = schema.pointer_mut(pointer).and_then(Value::as_object_mut);
        part.expect("every object has these fields").insert(keyword.to_owned(), value);
    };
    narrow("/properties/apiVersion", "const", API_VERSION.into());
    narrow("/properties", "kind", json!({"description": "What this is.", "const": kind.name()}));
    narrow("/properties/status", "readOnly", true.into());
    narrow("/$defs/Metadata/properties/resourceVersion", "readOnly", true.into());
    if kind.is_sited() {
        narrow("/$defs/Metadata", "required", json!(["name", "site"]));
        narrow("/$defs/Metadata/properties/site", "type", "string".into());
    }
    narrow("/$defs", "Kind", Value::Null);
    if let Some(definitions) = schema.pointer_mut("/$defs").and_then(Value::as_object_mut) {
        definitions.remove("Kind");
    }
    schema
}

//! The components of the description: the schemas of what is sent, each with all that it refers to inside.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::{Applied, Event, Health, List, NodeState, PathState, Problem, Version, WatchLine};
use crate::plan::NodePlan;
use crate::{Kind, LogPage, schema};

pub fn schemas() -> Value {
    let mut schemas = Map::new();
    for kind in Kind::ALL {
        let name = kind.name();
        schemas.insert(name.to_owned(), moved(schema::of_kind(kind).to_value(), name));
        schemas.insert(format!("{name}List"), list(reference(name)));
        schemas.insert(format!("{name}WatchLine"), line(reference(name)));
    }
    let any: Vec<Value> = Kind::ALL.iter().map(|kind| reference(kind.name())).collect();
    schemas.insert("Object".to_owned(), json!({"oneOf": any}));
    schemas.insert("ObjectList".to_owned(), given(list(reference("Object"))));
    schemas.insert("EventList".to_owned(), list(reference("Event")));
    schemas.insert("EventWatchLine".to_owned(), line(reference("Event")));
    schemas.insert("PathList".to_owned(), list(reference("PathState")));
    schemas.insert("NodeList".to_owned(), list(reference("NodeState")));
    for (name, schema) in [
        ("Applied", self_contained::<Applied>("Applied")),
        ("Event", self_contained::<Event>("Event")),
        ("PathState", self_contained::<PathState>("PathState")),
        ("NodeState", self_contained::<NodeState>("NodeState")),
        ("LogPage", self_contained::<LogPage>("LogPage")),
        ("NodePlan", self_contained::<NodePlan>("NodePlan")),
        ("Health", self_contained::<Health>("Health")),
        ("Version", self_contained::<Version>("Version")),
        ("Problem", self_contained::<Problem>("Problem")),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    schemas.into()
}

pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(of: Value) -> Value {
    let mut schema = self_contained::<List<Value>>("");
    schema["properties"]["items"] = json!({"type": "array", "items": of});
    schema.as_object_mut().expect("a list is an object").remove("title");
    schema
}

/// A list as the body of a request: no more of them than fit.
fn given(mut list: Value) -> Value {
    list["properties"] = json!({"items": list["properties"]["items"]});
    list
}

fn line(of: Value) -> Value {
    let mut schema = self_contained::<WatchLine<Value>>("");
    let fields = schema.as_object_mut().expect("a line is an object");
    fields.remove("title");
    fields.remove("$defs");
    schema["properties"]["type"] = json!({"enum": ["added", "modified", "deleted", "bookmark"]});
    schema["properties"]["object"] = of;
    schema
}

/// The schema of `T`; what it refers to is inside, found below the component `name`.
pub fn self_contained<T: JsonSchema>(name: &str) -> Value {
    moved(SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value(), name)
}

/// A document of its own as the component `name`.
fn moved(mut schema: Value, name: &str) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
    }
    lead(&mut schema, &format!("#/components/schemas/{name}/$defs/"));
    schema
}

/// Leads references to definitions to where these are now.
fn lead(value: &mut Value, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(definition) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{to}{definition}");
            }
            fields.values_mut().for_each(|value| lead(value, to));
        }
        Value::Array(entries) => entries.iter_mut().for_each(|value| lead(value, to)),
        _ => {}
    }
}

/// The manifest in the description of a kind.
pub fn example(kind: Kind) -> Value {
    let schema = schema::of_kind(kind).to_value();
    let specs = schema["$defs"].as_object().into_iter().flat_map(Map::values);
    let descriptions = specs.filter_map(|spec| spec["description"].as_str());
    let manifests = descriptions.filter_map(|text| Some(text.split_once("```yaml\n")?.1.split_once("```")?.0));
    let mut objects = manifests.filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    objects.find(|object| object["kind"] == kind.name()).expect("every kind's description has a manifest of it")
}

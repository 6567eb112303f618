//! Every required field that is not there. serde stops at the first; the schema knows them all.

use serde_json::Value as Schema;

use super::node::{Node, Step, Value};

/// Paths of the fields that `schema` (the root) requires and `document` lacks.
pub fn missing(root: &Schema, document: &Node) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    visit(root, root, document, &mut Vec::new(), &mut found);
    found
}

fn visit(root: &Schema, schema: &Schema, node: &Node, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    let schema = follow(root, schema);
    match &node.value {
        Value::Map(fields) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str) {
                if node.field(name).is_none() {
                    found.push([path.as_slice(), &[Step::Field(name.to_owned())]].concat());
                }
            }
            for field in fields {
                path.push(Step::Field(field.name.clone()));
                visit(root, &schema["properties"][field.name.as_str()], &field.node, path, found);
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, item) in items {
                path.push(Step::Item(*index));
                visit(root, &schema["items"], item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The schema a `$ref` names. Alternatives (`oneOf`) are left as they are: which one is meant cannot be known, and
/// serde's own error names what they lack.
fn follow<'a>(root: &'a Schema, schema: &'a Schema) -> &'a Schema {
    match schema["$ref"].as_str().and_then(|reference| root.pointer(reference.strip_prefix('#')?)) {
        Some(definition) => definition,
        None => schema,
    }
}

//! `api-resources`: the kinds, and what can be done with them.

use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::api::Operation;
use serde_json::json;

use crate::args::Output;
use crate::failure::Failure;
use crate::table::{Cell, Table};

pub fn api_resources(output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let rows: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind, verbs(kind))).collect();
    let values = rows.iter().map(|(kind, verbs)| {
        json!({"kind": kind.name(), "name": kind.plural(), "belongsToSite": kind.is_sited(), "verbs": verbs})
    });
    let text = match output {
        Output::Table | Output::Wide => {
            let mut table = Table::new(&["NAME", "KIND", "NAMED", "VERBS"]);
            for (kind, verbs) in &rows {
                let form = if kind.is_sited() { "SITE/NAME" } else { "NAME" };
                table.rows.push(vec![kind.plural().into(), kind.name().into(), form.into(), Cell::list(verbs)]);
            }
            table.render(false)
        }
        Output::Name => rows.iter().map(|(kind, _)| format!("{}\n", kind.plural())).collect(),
        Output::Json => format!("{:#}\n", json!({"items": values.collect::<Vec<_>>()})),
        Output::Jsonl => values.map(|value| format!("{value}\n")).collect(),
        Output::Yaml => serde_saphyr::to_string(&values.collect::<Vec<_>>()).expect("JSON can be written as YAML"),
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// By what the API takes.
fn verbs(kind: Kind) -> Vec<&'static str> {
    let verb = |operation| match operation {
        Operation::List(of) if of == kind => Some("list"),
        Operation::Create(of) if of == kind => Some("create"),
        Operation::Get(of) if of == kind => Some("get"),
        Operation::Replace(of) if of == kind => Some("replace"),
        Operation::Patch(of) if of == kind => Some("patch"),
        Operation::Delete(of) if of == kind => Some("delete"),
        Operation::Watch(of) if of == kind => Some("watch"),
        _ => None,
    };
    Operation::all().into_iter().filter_map(verb).collect()
}

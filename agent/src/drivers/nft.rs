//! nft tables: one `nft` run per namespace, its own words kept when it refuses.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::{Command, Stdio},
};

use nftables::schema::{NfObject, Nftables};
use pathsteer_crds::{ownership, plan::NftTableSpec};
use serde_json::Value;

use super::{Kernel, nft_render};
use crate::sys::{KernelError, netns::Netns};

/// Our tables in our namespaces. A namespace whose tables are not exactly as declared comes back without rules.
///
/// # Errors
/// What nft says.
pub fn observe(kernel: &Kernel, declared: &[NftTableSpec]) -> Result<Vec<NftTableSpec>, KernelError> {
    let mut observed = Vec::new();
    for (netns, netlink) in kernel.owned() {
        let text = run(&netlink.netns, &["-n", "-j", "list", "ruleset"], None)
            .map_err(|error| KernelError::new(format!("nft list in {netns}"), error))?;
        let found = ruleset(&serde_json::from_str(&text).unwrap_or_default());
        if found.is_empty() {
            continue;
        }
        let declared = declared.iter().find(|spec| spec.netns == netns);
        let same = declared.filter(|spec| {
            let objects = nft_render::objects(spec).into_iter().map(NfObject::ListObject).collect();
            let rendered = to_json(&Nftables { objects });
            rendered.is_ok_and(|rendered| ruleset(&rendered) == found)
        });
        observed.push(match same {
            Some(spec) => spec.clone(),
            None => NftTableSpec { netns: netns.to_owned(), rules: Vec::new() },
        });
    }
    Ok(observed)
}

/// Replaces our tables in one transaction: no packet sees a moment without them.
///
/// # Errors
/// What nft says.
pub fn put(kernel: &Kernel, spec: &NftTableSpec) -> Result<(), KernelError> {
    load(kernel, &spec.netns, &nft_render::replace(spec))
}

/// # Errors
/// What nft says.
pub fn remove(kernel: &Kernel, spec: &NftTableSpec) -> Result<(), KernelError> {
    load(kernel, &spec.netns, &nft_render::remove())
}

fn load(kernel: &Kernel, netns: &str, batch: &Nftables) -> Result<(), KernelError> {
    let fail = |error| KernelError::new(format!("nft in {netns}"), error);
    let input = to_json(batch).map_err(|error| fail(error.into()))?.to_string();
    run(&kernel.netlink(netns)?.netns, &["-j", "-f", "-"], Some(input)).map(drop).map_err(fail)
}

/// nft writes and reads statements without arguments as `{"notrack": null}`; the crate writes that one as a string.
fn to_json(batch: &Nftables) -> Result<Value, serde_json::Error> {
    fn mend(value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(mend),
            Value::Object(fields) => {
                for statement in fields.get_mut("expr").and_then(Value::as_array_mut).into_iter().flatten() {
                    if statement == "notrack" {
                        *statement = serde_json::json!({"notrack": null});
                    }
                }
                fields.values_mut().for_each(mend);
            }
            _ => {}
        }
    }
    let mut json = serde_json::to_value(batch)?;
    mend(&mut json);
    Ok(json)
}

fn run(netns: &Netns, arguments: &'static [&'static str], input: Option<String>) -> io::Result<String> {
    netns.run(move || {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::other("the program `nft` is missing: install the package nftables")
                }
                _ => error,
            })?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    })
}

/// Chains and rules of our tables: chain (with its hook) to the statements of its rules, in order; what nft adds when it
/// lists (handles, version) left out.
fn ruleset(listing: &Value) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in listing["nftables"].as_array().into_iter().flatten() {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else { continue };
        let owner = if kind == "table" { &body["name"] } else { &body["table"] };
        if owner != ownership::NFT_TABLE {
            continue;
        }
        let chain = |name: &Value| format!("{}/{}", body["family"], name);
        match kind.as_str() {
            "chain" => {
                let mut bare = body.clone();
                bare.as_object_mut().into_iter().for_each(|fields| drop(fields.remove("handle")));
                all.entry(chain(&body["name"])).or_default().insert(0, bare);
            }
            "rule" => all.entry(chain(&body["chain"])).or_default().push(body["expr"].clone()),
            "table" => {
                all.entry(format!("{} table", body["family"])).or_default();
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_do_not_make_a_difference_but_a_missing_rule_does() {
        let listed = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "pathsteer", "handle": 1}},
            {"chain": {"family": "inet", "table": "pathsteer", "name": "raw", "handle": 1}},
            {"rule": {"family": "inet", "table": "pathsteer", "chain": "raw", "handle": 6, "expr": [{"notrack": null}]}},
            {"table": {"family": "inet", "name": "someone-else", "handle": 9}},
        ]});
        let mut other = listed.clone();
        other["nftables"][3]["rule"]["handle"] = 77.into();
        assert_eq!(ruleset(&listed), ruleset(&other));
        other["nftables"].as_array_mut().unwrap().remove(3);
        assert_ne!(ruleset(&listed), ruleset(&other));
    }
}

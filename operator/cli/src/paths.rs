//! `get paths`: every way between a site and an anchor.

use std::io::Write;

use pathsteer_crds::api::{List, PathState};

use crate::args::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::report;
use crate::table::{self, Cell, Table, Tone};

/// Those of `site`, or all.
pub async fn get(client: &mut Client, site: Option<&str>, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let mut paths: List<PathState> = client.get("/v1/paths").await?;
    paths.items.retain(|path| site.is_none_or(|site| path.site == site));
    Ok(out.write_all(render(&paths.items, output, table::wants_colour()).as_bytes())?)
}

fn render(paths: &[PathState], output: Output, colour: bool) -> String {
    let json = |value| serde_json::to_string(value).expect("API types always serialize");
    match output {
        Output::Table | Output::Wide if paths.is_empty() => "no node has reported a path\n".to_owned(),
        Output::Table | Output::Wide => table(paths).render(colour),
        Output::Name => {
            paths.iter().map(|path| format!("path/{}/{}/{}\n", path.site, uplink(path), path.anchor)).collect()
        }
        Output::Json => format!("{:#}\n", serde_json::json!({"items": paths})),
        Output::Jsonl => paths.iter().map(|path| format!("{}\n", json(path))).collect(),
        Output::Yaml => serde_saphyr::to_string(&paths).expect("API types always serialize"),
    }
}

fn uplink(path: &PathState) -> String {
    path.uplink.clone().unwrap_or_else(|| format!("slot {}", path.slot))
}

fn table(paths: &[PathState]) -> Table {
    let mut table =
        Table::new(&["SITE", "UPLINK", "ANCHOR", "STATE", "ACTIVE FOR", "COPIES OF", "HANDSHAKE", "RECEIVED", "SENT"]);
    for path in paths {
        let state = match (path.connected, path.up) {
            (false, _) => Cell::toned("unknown", Tone::Doubtful),
            (true, true) => Cell::toned("up", Tone::Good),
            (true, false) => Cell::toned("down", Tone::Bad),
        };
        table.rows.push(vec![
            path.site.as_str().into(),
            uplink(path).into(),
            path.anchor.as_str().into(),
            state,
            Cell::list(&path.active),
            Cell::list(&path.copies),
            path.handshake_age_seconds.map_or("never".to_owned(), |age| format!("{age} s ago")).into(),
            report::bytes(path.rx_bytes).into(),
            report::bytes(path.tx_bytes).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whether_it_is_up_and_what_is_sent_by_it() {
        let path = |uplink: Option<&str>, connected, up| PathState {
            site: "rv-07".into(),
            slot: 1,
            uplink: uplink.map(str::to_owned),
            anchor: "dal-a".into(),
            connected,
            up,
            handshake_age_seconds: up.then_some(5),
            active: if up { vec!["default".into(), "voice".into()] } else { vec![] },
            copies: vec![],
            rx_bytes: 2_048,
            tx_bytes: 0,
        };
        let paths = [path(Some("fiber"), true, true), path(None, true, false), path(Some("lte"), false, true)];
        insta::assert_snapshot!(render(&paths, Output::Table, false), @r"
        SITE    UPLINK   ANCHOR   STATE     ACTIVE FOR      COPIES OF   HANDSHAKE   RECEIVED   SENT
        rv-07   fiber    dal-a    up        default,voice   -           5 s ago     2.0 KiB    0 B
        rv-07   slot 1   dal-a    down      -               -           never       2.0 KiB    0 B
        rv-07   lte      dal-a    unknown   default,voice   -           5 s ago     2.0 KiB    0 B
        ");
        assert_eq!(render(&paths[1..2], Output::Name, false), "path/rv-07/slot 1/dal-a\n");
    }
}

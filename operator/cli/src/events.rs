//! `events`: what has happened to objects, and what happens.

use std::io::Write;

use pathsteer_crds::api::{Event, List};

use crate::args::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::table::{self, Cell, Table, Tone};
use crate::{object, query};

/// Which events are shown, and how.
pub struct Events {
    pub object: Option<String>,
    pub site: Option<String>,
    pub limit: usize,
    pub follow: bool,
    pub output: Output,
}

impl Events {
    pub async fn run(self, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
        if self.follow && self.output == Output::Json {
            return Err(Failure::Usage("what goes on is no JSON document: use -o jsonl".to_owned()));
        }
        let fields = match &self.object {
            Some(words) => {
                let id = object::parse_one(words, None)?;
                format!("kind={},name={}", id.kind, id.key)
            }
            None => String::new(),
        };
        // Of a site's own objects the operator knows no field in common: they are picked here, so more are asked for.
        let limit = if self.site.is_some() { String::new() } else { self.limit.to_string() };
        let path = query::with("/v1/events", &[("fieldSelector", &fields), ("limit", &limit)]);
        let list: List<Event> = client.get(&path).await?;
        let mut events = list.items;
        events.retain(|event| self.is_meant(event));
        events.drain(..events.len().saturating_sub(self.limit));
        let colour = table::wants_colour();
        out.write_all(render(&events, self.output, colour).as_bytes())?;
        if !self.follow {
            return Ok(());
        }
        out.flush()?;
        let since = list.resource_version.unwrap_or_default().to_string();
        let path = query::with("/v1/watch/events", &[("fieldSelector", &fields), ("resourceVersion", &since)]);
        let mut lines = client.follow(&path).await?;
        let widths = table(&events).widths();
        while let Some(line) = lines.next::<Event>().await? {
            let Some(event) = line.object.filter(|event| self.is_meant(event)) else { continue };
            let text = match self.output {
                Output::Table | Output::Wide => table(&[event]).rows_as_wide_as(&widths, colour),
                output => render(&[event], output, colour),
            };
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Err(Failure::No("the operator has ended".to_owned()))
    }

    fn is_meant(&self, event: &Event) -> bool {
        self.site.as_ref().is_none_or(|site| event.name.split('/').next() == Some(site))
    }
}

fn render(events: &[Event], output: Output, colour: bool) -> String {
    let json = |value| serde_json::to_string(value).expect("API types always serialize");
    match output {
        Output::Table | Output::Wide if events.is_empty() => "nothing has happened\n".to_owned(),
        Output::Table | Output::Wide => table(events).render(colour),
        Output::Name => events.iter().map(|event| format!("{}\n", object(event))).collect(),
        Output::Json => format!("{:#}\n", serde_json::json!({"items": events})),
        Output::Jsonl => events.iter().map(|event| format!("{}\n", json(event))).collect(),
        Output::Yaml => serde_saphyr::to_string(&events).expect("API types always serialize"),
    }
}

fn object(event: &Event) -> String {
    format!("{}/{}", event.kind.name().to_lowercase(), event.name)
}

fn table(events: &[Event]) -> Table {
    let mut table = Table::new(&["TIME", "OBJECT", "WHAT", "REASON", "MESSAGE"]);
    for event in events {
        let tone = if event.to == "True" { Tone::Good } else { Tone::Bad };
        table.rows.push(vec![
            event.time.as_str().into(),
            object(event).into(),
            Cell::toned(format!("{} {}", event.what, event.to), tone),
            event.reason.as_str().into(),
            event.message.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use pathsteer_crds::Kind;

    fn event(kind: Kind, name: &str, to: &str) -> Event {
        Event {
            time: "2026-11-30T08:00:00Z".into(),
            kind,
            name: name.into(),
            what: "Ready".into(),
            from: Some("True".into()),
            to: to.into(),
            reason: "TunnelDown".into(),
            message: "slot 2 has no handshake".into(),
        }
    }

    #[test]
    fn an_event_is_a_line_with_time_object_what_changed_and_why() {
        let events = [event(Kind::Site, "rv-07", "False"), event(Kind::Uplink, "rv-07/lte", "True")];
        insta::assert_snapshot!(render(&events, Output::Table, false), @r"
        TIME                   OBJECT             WHAT          REASON       MESSAGE
        2026-11-30T08:00:00Z   site/rv-07         Ready False   TunnelDown   slot 2 has no handshake
        2026-11-30T08:00:00Z   uplink/rv-07/lte   Ready True    TunnelDown   slot 2 has no handshake
        ");
        assert_eq!(render(&events, Output::Name, false), "site/rv-07\nuplink/rv-07/lte\n");
        assert_eq!(render(&[], Output::Table, false), "nothing has happened\n");
    }

    #[test]
    fn events_of_a_site_are_its_own_and_those_of_what_belongs_to_it() {
        let of = Events { object: None, site: Some("rv-07".into()), limit: 9, follow: false, output: Output::Name };
        assert!(of.is_meant(&event(Kind::Site, "rv-07", "True")) && of.is_meant(&event(Kind::Vlan, "rv-07/a", "True")));
        assert!(!of.is_meant(&event(Kind::Site, "rv-071", "True")));
    }
}

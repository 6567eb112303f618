//! `mode` and `uplink`: a person's will, as Override objects with names one can guess.

use std::io::Write;

use pathsteer_crds::{AnyObject, Kind, Object, OverrideAction, OverrideSpec, manifest};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::apply;
use crate::args::{ModeCommand, OverrideCommand, Pruning, UplinkCommand};
use crate::client::Client;
use crate::columns;
use crate::duration::{self, Span};
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::object::{self, ObjectId};
use crate::table::Table;

/// Label of an override that says when its time was last set to run.
const SET_AT_LABEL: &str = "set-at";

pub async fn mode(client: &mut Client, command: ModeCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        ModeCommand::Set { site, mode, time } => {
            check_site(client, &site).await?;
            write(client, Matter::Mode, &site, OverrideAction::Mode(mode), time, out).await
        }
        ModeCommand::Auto { site } => remove(client, Matter::Mode, &site, out).await,
    }
}

pub async fn uplink(client: &mut Client, command: UplinkCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        UplinkCommand::Force { uplink, time } => {
            let (site, uplink) = check_uplink(client, &uplink).await?;
            write(client, Matter::Uplink, &site, OverrideAction::ForceUplink(uplink), time, out).await
        }
        UplinkCommand::Fail { uplink, time } => {
            let (site, uplink) = check_uplink(client, &uplink).await?;
            write(client, Matter::Uplink, &site, OverrideAction::FailUplink(uplink), time, out).await
        }
        UplinkCommand::Auto { site } => remove(client, Matter::Uplink, &site, out).await,
    }
}

pub async fn overrides(client: &mut Client, command: OverrideCommand, out: &mut dyn Write) -> Result<(), Failure> {
    let entries = entry::list(client, Kind::Override).await?;
    let (sites, all) = match command {
        OverrideCommand::List => {
            return Ok(out.write_all(list(&entries, OffsetDateTime::now_utc()).as_bytes())?);
        }
        OverrideCommand::Clear { sites, all } => (sites, all),
    };
    for site in &sites {
        check_site(client, site).await?;
    }
    let meant = entries.iter().filter(|entry| all || site_of(entry).is_some_and(|site| sites.contains(site)));
    let ids: Vec<ObjectId> = meant.map(|entry| entry.id.clone()).collect();
    if ids.is_empty() {
        return Ok(writeln!(out, "nothing is overridden")?);
    }
    apply::delete(client, ids, false, out).await
}

fn site_of(entry: &Entry) -> Option<&String> {
    match &entry.object {
        Some(AnyObject::Override(over)) => Some(&over.spec.site),
        _ => None,
    }
}

fn list(entries: &[Entry], now: OffsetDateTime) -> String {
    let mut table = Table::new(&["NAME", "SITE", "ACTION", "LEFT"]);
    for entry in entries {
        let Some(AnyObject::Override(over)) = &entry.object else { continue };
        let left = match (over.spec.duration_seconds, end(entry)) {
            (None, _) => "until cleared".to_owned(),
            (Some(_), Some(end)) => {
                let seconds = (end - now).whole_seconds().clamp(0, u32::MAX.into());
                duration::text(u32::try_from(seconds).unwrap_or_default())
            }
            (Some(seconds), None) => duration::text(seconds),
        };
        let action = columns::action(&over.spec.action);
        table.rows.push(vec![entry.id.key.as_str().into(), over.spec.site.as_str().into(), action.into(), left.into()]);
    }
    if table.rows.is_empty() { "nothing is overridden\n".to_owned() } else { table.render(false) }
}

/// When it ends, as the operator says in the message of `Admitted`.
fn end(entry: &Entry) -> Option<OffsetDateTime> {
    let (_, time) = entry.status.condition("Admitted")?.message.split_once("in force until ")?;
    OffsetDateTime::parse(time.split([';', ' ']).next()?, &Rfc3339).ok()
}

/// What an override is about. A site has one of each at most, so that a new one replaces the old.
#[derive(Debug, Clone, Copy)]
enum Matter {
    Mode,
    Uplink,
}

impl Matter {
    fn word(self) -> &'static str {
        match self {
            Matter::Mode => "mode",
            Matter::Uplink => "uplink",
        }
    }

    fn id(self, site: &str) -> ObjectId {
        ObjectId { kind: Kind::Override, key: format!("{site}-{}", self.word()) }
    }
}

fn overriding(id: &ObjectId, site: &str, action: OverrideAction, time: Option<Span>) -> Result<AnyObject, Failure> {
    let spec = OverrideSpec { site: site.to_owned(), action, duration_seconds: time.map(Span::seconds) };
    let object = AnyObject::Override(Object::new(None, &id.key, spec));
    match object.check().first() {
        None => Ok(object),
        Some((path, message)) => Err(Failure::Usage(format!("{path}: {message}"))),
    }
}

async fn write(
    client: &mut Client,
    matter: Matter,
    site: &str,
    action: OverrideAction,
    time: Option<Span>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut object = overriding(&matter.id(site), site, action, time)?;
    if time.is_some() {
        // An equal object would be left unchanged, and its time would run on from when it was first written.
        let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("this year can be written");
        object.metadata_mut().labels.insert(SET_AT_LABEL.to_owned(), now);
    }
    apply::apply(client, vec![object], (false, Pruning::default()), out).await
}

async fn remove(client: &mut Client, matter: Matter, site: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let site = object::parse_one("site", Some(site))?;
    let id = matter.id(&site.key);
    match client.delete(&id.path()).await {
        Ok(()) => Ok(writeln!(out, "{id} deleted")?),
        // What was asked for is so already, perhaps because its time ran out.
        Err(error) if error.is_not_found() => Ok(writeln!(out, "{site} has no {} override", matter.word())?),
        Err(error) => Err(error.into()),
    }
}

async fn check_site(client: &mut Client, name: &str) -> Result<(), Failure> {
    let id = object::parse_one("site", Some(name))?;
    match entry::get(client, &id).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => {
            let sites = entry::list(client, Kind::Site).await?;
            Err(no_such("Site", name, sites.iter().map(|entry| entry.id.key.as_str())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Site and name of an uplink that exists: forcing one that does not would do nothing, in silence.
async fn check_uplink(client: &mut Client, words: &str) -> Result<(String, String), Failure> {
    let id = object::parse_one("uplink", Some(words))?;
    let (site, name) = id.key.split_once('/').unwrap_or_default();
    let uplinks = entry::list(client, Kind::Uplink).await?;
    if uplinks.iter().any(|entry| entry.id == id) {
        return Ok((site.to_owned(), name.to_owned()));
    }
    Err(no_such("Uplink", &id.key, uplinks.iter().map(|entry| entry.id.key.as_str())))
}

fn no_such<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<&str> = known.collect();
    let fix = match manifest::nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "none is declared".to_owned(),
        None => format!("see `pathsteer get {}s`", kind.to_lowercase()),
    };
    Failure::No(format!("there is no {kind} `{name}`: {fix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_named_after_its_site_and_matter_and_lasts_as_long_as_told() {
        let time = Some(duration::parse("1h").unwrap());
        let id = Matter::Uplink.id("rv-07");
        let object = overriding(&id, "rv-07", OverrideAction::ForceUplink("fiber".into()), time).unwrap();
        assert_eq!(ObjectId::of(&object), id);
        assert_eq!(id.to_string(), "override/rv-07-uplink");
        let AnyObject::Override(object) = object else { panic!("no override") };
        assert_eq!(object.spec.duration_seconds, Some(3_600));
        assert_eq!(Matter::Mode.id("rv-07").key, "rv-07-mode");
    }

    #[test]
    fn a_time_longer_than_allowed_is_refused_before_anything_is_sent() {
        let time = Some(duration::parse("31d").unwrap());
        let refused = overriding(&Matter::Mode.id("a"), "a", OverrideAction::FailUplink("b".into()), time).unwrap_err();
        assert!(refused.to_string().contains("durationSeconds"), "{refused}");
    }

    #[test]
    fn what_does_not_exist_leads_to_what_does() {
        let text = |name: &str, known: &[&str]| no_such("Uplink", name, known.iter().copied()).to_string();
        assert_eq!(
            text("rv-07/fibre", &["rv-07/fiber"]),
            "there is no Uplink `rv-07/fibre`: did you mean `rv-07/fiber`?"
        );
        assert_eq!(text("x/y", &["rv-07/fiber"]), "there is no Uplink `x/y`: see `pathsteer get uplinks`");
        assert_eq!(text("x/y", &[]), "there is no Uplink `x/y`: none is declared");
    }
}

//! `wait`: until objects have a condition, or until time runs out with what is still missing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use pathsteer_crds::meta::ConditionStatus;
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::duration::Span;
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::object::{self, ObjectId};

/// Between two looks at the operator. A human notices a quarter of a second at most; an operator answers some thousand
/// of these a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// A condition, and how it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    kind: String,
    status: ConditionStatus,
}

impl FromStr for Awaited {
    type Err = String;

    fn from_str(words: &str) -> Result<Awaited, String> {
        let parts: Vec<&str> = words.split('=').collect();
        let (kind, status) = match parts[..] {
            ["condition", kind] if !kind.is_empty() => (kind, "True"),
            ["condition", kind, status] if !kind.is_empty() => (kind, status),
            _ => ("", ""),
        };
        let status = match status.to_ascii_lowercase().as_str() {
            "true" => ConditionStatus::True,
            "false" => ConditionStatus::False,
            "unknown" => ConditionStatus::Unknown,
            _ => return Err("write condition=Ready, another type of condition, or condition=Ready=False".to_owned()),
        };
        Ok(Awaited { kind: kind.to_owned(), status })
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Awaited { kind, status } = self;
        if *status == ConditionStatus::True { write!(f, "{kind}") } else { write!(f, "{kind}={status:?}") }
    }
}

/// What is waited for.
pub struct Wait {
    condition: Awaited,
    timeout: Span,
    /// None: every object there is.
    objects: Option<Vec<ObjectId>>,
}

impl Wait {
    /// # Errors
    /// Words that name no object.
    pub fn new(condition: Awaited, timeout: Span, all: bool, objects: &[String]) -> Result<Wait, Failure> {
        let ids: Result<Vec<ObjectId>, Failure> = objects.iter().map(|word| object::parse_one(word, None)).collect();
        Ok(Wait { condition, timeout, objects: if all { None } else { Some(ids?) } })
    }

    /// Looks until nothing is missing, and says when each object has the condition.
    ///
    /// # Errors
    /// What is still missing when time runs out; an answer that waiting will not change.
    pub async fn run(&self, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout.into();
        let mut met: Vec<ObjectId> = Vec::new();
        loop {
            let missing = match self.look(client).await {
                Ok(looks) => {
                    for id in looks.iter().filter(|(_, missing)| missing.is_none()).map(|(id, _)| id) {
                        if !met.contains(id) {
                            writeln!(out, "{id} {}", self.condition)?;
                            met.push(id.clone());
                        }
                    }
                    let missing: Vec<String> =
                        looks.into_iter().filter_map(|(id, missing)| Some(format!("{id}: {}", missing?))).collect();
                    if missing.is_empty() {
                        return Ok(());
                    }
                    missing
                }
                Err(error) if error.is_passing() => vec![error.to_string()],
                Err(error) => return Err(error.into()),
            };
            if Instant::now() >= deadline {
                return Err(Failure::No(out_of_time(self.timeout, &missing)));
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + INTERVAL)).await;
        }
    }

    /// What each object still lacks.
    async fn look(&self, client: &mut Client) -> Result<BTreeMap<ObjectId, Option<String>>, ClientError> {
        let mut looks = BTreeMap::new();
        match &self.objects {
            None => {
                for entry in entry::list_all(client).await? {
                    looks.insert(entry.id.clone(), missing(&entry, &self.condition));
                }
            }
            Some(ids) => {
                for id in ids {
                    let missing = match entry::get(client, id).await {
                        Ok(entry) => missing(&entry, &self.condition),
                        Err(error) if error.is_not_found() => Some("there is no such object".to_owned()),
                        Err(error) => return Err(error),
                    };
                    looks.insert(id.clone(), missing);
                }
            }
        }
        Ok(looks)
    }
}

/// What keeps `entry` from what is awaited; None if it has it, for the newest version of its spec.
fn missing(entry: &Entry, awaited: &Awaited) -> Option<String> {
    let status = &entry.status;
    if status.observed_generation < entry.revision() {
        let (seen, newest) = (status.observed_generation, entry.revision());
        return Some(format!("the operator has not come to generation {newest} yet (it is at {seen})"));
    }
    if status.condition(&awaited.kind).is_some_and(|found| found.status == awaited.status) {
        return None;
    }
    let stated: Vec<String> = status
        .conditions
        .iter()
        .filter(|other| other.status != ConditionStatus::True || other.kind == awaited.kind)
        .map(|other| {
            let separator = if other.message.is_empty() { "" } else { ": " };
            format!("{} is {:?}, {}{separator}{}", other.kind, other.status, other.reason, other.message)
        })
        .collect();
    Some(if stated.is_empty() { format!("it has no condition {}", awaited.kind) } else { stated.join("; ") })
}

fn out_of_time(timeout: Span, missing: &[String]) -> String {
    let time = crate::duration::text(timeout.seconds());
    format!("still not as declared after {time}:\n  {}", missing.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples::{entry, site};

    fn awaited(words: &str) -> Awaited {
        words.parse().unwrap()
    }

    #[test]
    fn an_object_is_ready_when_the_condition_speaks_of_its_newest_version() {
        assert_eq!(missing(&site(7, "True", "Verified", ""), &awaited("condition=Ready")), None);
        assert_eq!(missing(&site(8, "True", "Verified", ""), &awaited("condition=Ready")), None);
        assert_eq!(
            missing(&site(6, "True", "Verified", ""), &awaited("condition=Ready")).unwrap(),
            "the operator has not come to generation 7 yet (it is at 6)"
        );
    }

    #[test]
    fn what_is_missing_is_every_condition_that_does_not_hold_with_reason_and_message() {
        assert_eq!(
            missing(&site(7, "False", "TunnelDown", "slot 2 has no handshake"), &awaited("condition=Ready")).unwrap(),
            "Ready is False, TunnelDown: slot 2 has no handshake"
        );
        assert_eq!(
            missing(&site(7, "Unknown", "NoReport", ""), &awaited("condition=Ready")).unwrap(),
            "Ready is Unknown, NoReport"
        );
        assert_eq!(
            missing(&site(7, "True", "Verified", ""), &awaited("condition=Loud")).unwrap(),
            "it has no condition Loud"
        );
        assert_eq!(missing(&site(7, "False", "TunnelDown", ""), &awaited("condition=Admitted")), None);
    }

    #[test]
    fn a_condition_may_be_awaited_to_hold_no_longer() {
        let lost = awaited("condition=Ready=false");
        assert_eq!(lost.to_string(), "Ready=False");
        assert_eq!(missing(&site(7, "False", "TunnelDown", ""), &lost), None);
        assert_eq!(missing(&site(7, "True", "CarriedOut", ""), &lost).unwrap(), "Ready is True, CarriedOut");
        for wrong in ["Ready", "condition=", "condition=Ready=maybe", "condition=Ready=True=False"] {
            assert!(wrong.parse::<Awaited>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_object_nobody_has_looked_at_is_not_ready() {
        let fresh = entry("kind: Site\nmetadata: {name: a, resourceVersion: 3}\nspec: {}");
        assert!(missing(&fresh, &awaited("condition=Ready")).unwrap().contains("has not come to generation 3"));
        let without = entry("kind: Site\nmetadata: {name: a}\nspec: {}");
        assert_eq!(missing(&without, &awaited("condition=Ready")).unwrap(), "it has no condition Ready");
    }

    #[test]
    fn running_out_of_time_names_every_object_on_its_own_line() {
        let timeout = crate::duration::parse("90s").unwrap();
        let text = out_of_time(timeout, &["site/a: x".into(), "site/b: y".into()]);
        assert_eq!(text, "still not as declared after 1m30s:\n  site/a: x\n  site/b: y");
    }
}

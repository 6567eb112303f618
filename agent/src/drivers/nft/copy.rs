//! Copies of shimmed packets, one rule per bit of the copy set, each within its uplink's budget.

use pathsteer_crds::{
    CopyBudget, mark,
    plan::{CopyTarget, NftRule},
};
use serde_json::{Value, json};

use super::{
    ruleset::{COPY, Ruleset},
    words::{accept, field, is, is_not, kind_of, leaves_by, masked, meta},
};

/// The copies of `rules`. What has no copy set, as nearly every packet, sees none of them.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    let bit = |rule: &NftRule| if let NftRule::Copy { slot, .. } = rule { mark::copy_bit(*slot) } else { 0 };
    let bits = rules.iter().map(bit).fold(0, |all, bit| all | bit);
    if bits != 0 {
        tables.rule(&COPY, vec![is(masked(meta("mark"), bits), 0), accept()]);
    }
    for rule in rules {
        if let NftRule::Copy { slot, link, to, budget } = rule {
            copy(*slot, link, to, *budget, tables);
        }
    }
}

/// Only what has the copy's bit; not what a backup route already sends out of the copy's own link.
fn copy(slot: u8, link: &str, to: &CopyTarget, budget: Option<CopyBudget>, tables: &mut Ruleset) {
    let bit = mark::copy_bit(slot);
    let address = match to {
        CopyTarget::Gateway(gateway) => json!(gateway),
        CopyTarget::Destination => field("ip", "daddr"),
    };
    let mut rule = vec![is(masked(meta("mark"), bit), bit), is_not(meta("oifname"), link), leaves_by(&kind_of(link))];
    if let Some(CopyBudget { bytes_per_second, bytes_per_month }) = budget {
        // the rate first: what it holds back is not used of the month
        rule.extend(bytes_per_second.map(rate));
        rule.extend(bytes_per_month.map(|bytes| tables.quota(slot, bytes)));
    }
    rule.push(json!({"dup": {"addr": address, "dev": link}}));
    tables.rule(&COPY, rule);
}

/// At most `bytes` a second, saved up for a second. nft lists the largest unit that divides it.
fn rate(bytes: u64) -> Value {
    let (mut rate, mut unit) = (bytes, "bytes");
    for larger in ["kbytes", "mbytes"] {
        if rate != 0 && rate.is_multiple_of(1_024) {
            (rate, unit) = (rate / 1_024, larger);
        }
    }
    json!({"limit": {"rate": rate, "rate_unit": unit, "per": "second", "burst": 0, "burst_unit": "bytes"}})
}

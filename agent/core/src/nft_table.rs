//! Our nft table, one per namespace.

use pathsteer_crds::plan::{NftRule, NftTableSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::{Noun, place};

impl Noun for NftTableSpec {
    type Key<'a> = &'a str;

    fn key(&self) -> Self::Key<'_> {
        &self.netns
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.if_absent || self == found
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // A table is replaced in one transaction.
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("nft table {}", place(&self.netns))
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.nft_tables
    }
}

/// Loading `table` turns the name of `link` into its index, as `dup … device` does: with another link of that name the
/// table has to be loaded again, though it reads the same.
pub(crate) fn binds(table: &NftTableSpec, link: &str) -> bool {
    table.rules.iter().any(|rule| matches!(rule, NftRule::Copy { link: to, .. } if to == link))
}

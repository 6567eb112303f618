//! The stage of a suite, from the first case on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, bail};

use super::{Act, Stage};

pub(super) enum Theatre<S> {
    Closed,
    Open(Box<S>),
    /// It did not open, or could not be put in order after a case, which has said why.
    Ruined,
}

impl<S: Stage> Theatre<S> {
    /// Plays `act`, on a stage that is opened with `open` where there is none yet, and restores the stage.
    pub(super) fn perform(
        &mut self,
        open: impl FnOnce() -> Result<S>,
        act: Act<S>,
        remarks: &mut Vec<String>,
    ) -> Result<()> {
        if let Theatre::Closed = self {
            *self = Theatre::Ruined;
            *self = Theatre::Open(Box::new(open().context("the stage did not open")?));
        }
        let Theatre::Open(stage) = self else { bail!("not played: the stage is in ruins") };
        let outcome = guarded(|| act(stage));
        let restored = guarded(|| stage.restore(outcome.is_ok()));
        remarks.append(stage.remarks());
        let Err(error) = restored else { return outcome };
        *self = Theatre::Ruined;
        let why = error.context("the stage was not in order afterwards");
        Err(outcome.err().map_or_else(|| anyhow!("{why:#}"), |first| anyhow!("{first:#}; {why:#}")))
    }
}

/// The outcome of `work`, to which a panic is an error like any other.
pub(super) fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("panicked: {}", text.unwrap_or("without words")))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::ensure;

    use super::*;

    /// A stage that says how it was restored, and cannot be once it is broken.
    #[derive(Default)]
    struct Boards {
        remarks: Vec<String>,
        broken: bool,
    }

    impl Stage for Boards {
        fn open(_: &Path) -> Result<Boards> {
            Ok(Boards::default())
        }

        fn restore(&mut self, well: bool) -> Result<()> {
            self.remarks.push(format!("restored, well: {well}"));
            ensure!(!self.broken, "a hole in it");
            Ok(())
        }

        fn remarks(&mut self) -> &mut Vec<String> {
            &mut self.remarks
        }
    }

    /// The outcome of each of `acts` in turn, in words.
    fn played(open: fn() -> Result<Boards>, acts: &[Act<Boards>]) -> Vec<String> {
        let mut theatre = Theatre::Closed;
        let mut play = |act: &Act<Boards>| {
            let mut remarks = Vec::new();
            let outcome = theatre.perform(open, *act, &mut remarks);
            format!(
                "{}; {}",
                remarks.join(", "),
                outcome.map_or_else(|error| format!("{error:#}"), |()| "ok".to_owned())
            )
        };
        acts.iter().map(&mut play).collect()
    }

    #[test]
    fn a_failure_or_a_panic_of_one_case_leaves_the_stage_to_the_next() {
        let acts: [Act<Boards>; 3] = [|_| bail!("fell"), |_| panic!("stumbled"), |_| Ok(())];
        let outcomes = played(|| Ok(Boards::default()), &acts);
        assert_eq!(
            outcomes,
            ["restored, well: false; fell", "restored, well: false; panicked: stumbled", "restored, well: true; ok"]
        );
    }

    #[test]
    fn a_stage_that_cannot_be_restored_fails_its_case_and_those_that_follow() {
        let broken: Act<Boards> = |boards| {
            boards.broken = true;
            Ok(())
        };
        let outcomes = played(|| Ok(Boards::default()), &[broken, |_| Ok(())]);
        assert!(outcomes[0].ends_with("the stage was not in order afterwards: a hole in it"), "{outcomes:?}");
        assert_eq!(outcomes[1], "; not played: the stage is in ruins");
    }

    #[test]
    fn a_stage_that_does_not_open_is_tried_once_and_fails_every_case() {
        let outcomes = played(|| bail!("no boards"), &[|_| Ok(()), |_| Ok(())]);
        assert_eq!(outcomes, ["; the stage did not open: no boards", "; not played: the stage is in ruins"]);
    }
}

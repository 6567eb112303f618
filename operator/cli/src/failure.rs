//! Why a command did not do what it was asked to, and which exit code says so.

use std::path::PathBuf;

use pathsteer_crds::manifest::ManifestError;

use crate::client::ClientError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line cannot be carried out as it is written.
    #[error("{0}")]
    Usage(String),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Config { path: PathBuf, message: String },
    #[error("{}", list(.0))]
    Invalid(Vec<ManifestError>),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What `diff` was asked.
    #[error("{differing} of {all} differ")]
    Differs { differing: usize, all: usize },
    /// `diff` cannot tell: its exit code is not that of a difference.
    #[error(transparent)]
    Untold(Box<Failure>),
    /// The answer is no.
    #[error("{0}")]
    No(String),
    #[error("a key or certificate request could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// 1: the request failed or something is invalid; 2: the command or its files are wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::File { .. } | Failure::Config { .. } | Failure::Untold(_) => 2,
            Failure::Client(error) if error.is_of_settings() => 2,
            Failure::Invalid(_)
            | Failure::Client(_)
            | Failure::Differs { .. }
            | Failure::No(_)
            | Failure::Certificate(_)
            | Failure::Output(_) => 1,
        }
    }

    /// The same where 1 says something else.
    pub fn untold(self) -> Failure {
        match self {
            Failure::Differs { .. } => self,
            why => Failure::Untold(Box::new(why)),
        }
    }

    /// Whoever reads our output has stopped (`pathsteer get sites | head -1`): nothing to complain about.
    pub fn is_closed_pipe(&self) -> bool {
        match self {
            Failure::Output(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
            Failure::Untold(why) => why.is_closed_pipe(),
            _ => false,
        }
    }

    /// What is printed on standard error, without a final newline. Manifest errors stand as they are, in the form
    /// editors jump to.
    pub fn text(&self) -> String {
        match self {
            Failure::Invalid(_) => self.to_string(),
            Failure::Untold(why) => why.text(),
            _ => format!("pathsteer: {self}"),
        }
    }
}

fn list(errors: &[ManifestError]) -> String {
    errors.iter().map(ManifestError::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_put_right_in_the_command_exits_with_two_and_a_refusal_with_one() {
        assert_eq!(Failure::Usage("no".into()).exit_code(), 2);
        let missing = Failure::File { path: "a.yaml".into(), source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(missing.exit_code(), 2);
        assert_eq!(missing.text(), "pathsteer: a.yaml: entity not found");
        assert_eq!(Failure::No("no".into()).exit_code(), 1);
    }

    #[test]
    fn manifest_errors_are_one_a_line_and_begin_with_their_place() {
        let error = |line| ManifestError {
            file: "a.yaml".into(),
            line,
            column: 3,
            field: "spec.slot".into(),
            message: "9 is out of range".into(),
            fix: None,
        };
        let failure = Failure::Invalid(vec![error(4), error(9)]);
        assert_eq!(
            failure.text(),
            "a.yaml:4:3: spec.slot: 9 is out of range\na.yaml:9:3: spec.slot: 9 is out of range"
        );
        assert_eq!(failure.exit_code(), 1);
    }
}

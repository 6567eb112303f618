//! `edit`: one object in a person's editor, written only over the version that was shown.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use pathsteer_crds::manifest;

use crate::args::ObjectWords;
use crate::client::Client;
use crate::entry;
use crate::failure::Failure;
use crate::object::{self, ObjectId};

/// Opens the object until what is saved is taken, unchanged or given up.
///
/// # Errors
/// The editor does not run, what was saved is not valid and not mended, or somebody else wrote in between; then the text is
/// kept and named.
pub async fn edit(client: &mut Client, words: &ObjectWords, out: &mut dyn Write) -> Result<(), Failure> {
    let id = object::parse_one(&words.kind, words.name.as_deref())?;
    let entry = entry::get(client, &id).await?;
    let (original, revision) = (entry.declared(), entry.revision());
    let file = Draft::new(&id)?;
    let mut text = original.clone();
    loop {
        let before = text.clone();
        file.write(&text)?;
        open(&file.path)?;
        text = without_notes(&file.read()?);
        if text.trim().is_empty() || text == original {
            file.remove();
            return Ok(writeln!(out, "{id} unchanged")?);
        }
        let problem = match send(client, &id, &text, revision).await {
            Ok(()) => {
                file.remove();
                return Ok(writeln!(out, "{id} configured")?);
            }
            Err(Refused::Invalid(problem)) => problem,
            Err(Refused::Other(failure)) => return Err(kept(&file, &failure.to_string())),
        };
        // Saved as it was shown with what is wrong: given up.
        if text == without_notes(&before) {
            return Err(kept(&file, &problem));
        }
        let notes: String = problem.lines().map(|line| format!("{NOTE}{line}\n")).collect();
        text = format!("{NOTE}This is not valid yet; save it unchanged to give up.\n{notes}{text}");
    }
}

/// What begins a line that is ours.
const NOTE: &str = "#! ";

fn without_notes(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with(NOTE)).map(|line| format!("{line}\n")).collect()
}

enum Refused {
    Invalid(String),
    Other(Failure),
}

async fn send(client: &mut Client, id: &ObjectId, text: &str, revision: i64) -> Result<(), Refused> {
    let mut objects = manifest::parse(text, "edited")
        .map_err(|errors| Refused::Invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let [located] = objects.as_mut_slice() else {
        return Err(Refused::Invalid("one object was shown, so one is taken back".to_owned()));
    };
    if ObjectId::of(&located.object) != *id {
        let renamed = ObjectId::of(&located.object);
        return Err(Refused::Invalid(format!("{id} cannot become {renamed}: create that one, then delete {id}")));
    }
    located.object.metadata_mut().resource_version = Some(revision);
    let body = serde_json::to_string(&located.object).expect("objects always serialize");
    match client.put::<serde_json::Value>(&id.path(), body).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.invalid() {
            Some(problem) => Refused::Invalid(problem),
            None => Refused::Other(error.into()),
        }),
    }
}

fn kept(file: &Draft, problem: &str) -> Failure {
    Failure::No(format!("{problem}\nwhat you have written is kept in {}", file.path.display()))
}

/// The editor's file.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(id: &ObjectId) -> Result<Draft, Failure> {
        let name = id.to_string().replace('/', "-");
        let path = std::env::temp_dir().join(format!("pathsteer-{name}-{}.yaml", std::process::id()));
        let file = Draft { path };
        // Nobody else's file is written over, nor a link of somebody's followed.
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&file.path);
        made.map_err(|source| file.failed(source))?;
        Ok(file)
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        std::fs::write(&self.path, text).map_err(|source| self.failed(source))
    }

    fn read(&self) -> Result<String, Failure> {
        std::fs::read_to_string(&self.path).map_err(|source| self.failed(source))
    }

    fn remove(&self) {
        // It is of no use any more, wherever it is.
        drop(std::fs::remove_file(&self.path));
    }

    fn failed(&self, source: std::io::Error) -> Failure {
        Failure::File { path: self.path.clone(), source }
    }
}

/// By a shell, since people put arguments into these variables.
fn open(path: &Path) -> Result<(), Failure> {
    let named = |variable: &str| std::env::var(variable).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::No(format!("the editor `{editor}` ended with {status}: nothing was changed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_ours_are_taken_out() {
        assert_eq!(without_notes("#! wrong\n# mine\nkind: Site\n"), "# mine\nkind: Site\n");
    }
}

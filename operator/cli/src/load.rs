//! Manifests from files, folders and standard input, all of them checked before anything is done with one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use pathsteer_crds::AnyObject;
use pathsteer_crds::manifest::{self, Located, ManifestError};

use crate::failure::Failure;
use crate::object::ObjectId;

/// The objects in `sources`, in the order in which kinds are applied, then by name.
///
/// # Errors
/// A source that cannot be read or has no manifest in it; otherwise everything that is wrong in all of them.
pub fn load(sources: &[String]) -> Result<Vec<AnyObject>, Failure> {
    let mut located = Vec::new();
    let mut errors = Vec::new();
    for (name, text) in read(sources)? {
        match manifest::parse(&text, &name) {
            Ok(objects) => located.extend(objects),
            Err(found) => errors.extend(found),
        }
    }
    errors.extend(twice(&located));
    if !errors.is_empty() {
        return Err(Failure::Invalid(errors));
    }
    if located.is_empty() {
        return Err(Failure::Usage(format!("there is no manifest in {}", sources.join(", "))));
    }
    let mut objects: Vec<AnyObject> = located.into_iter().map(|located| located.object).collect();
    objects.sort_by_key(ObjectId::of);
    Ok(objects)
}

/// Name and text of every source.
fn read(sources: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for source in sources {
        if source == "-" {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|source| Failure::File { path: "standard input".into(), source })?;
            texts.push(("stdin".to_owned(), text));
            continue;
        }
        for path in files(Path::new(source))? {
            let text = std::fs::read_to_string(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
            texts.push((path.display().to_string(), text));
        }
    }
    Ok(texts)
}

/// `path` itself if it is a file, whatever its name; every manifest below it if it is a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source| Failure::File { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_manifest = entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if is_manifest {
            found.push(entry);
        }
    }
    Ok(found)
}

/// An error for every object that was declared before.
fn twice(located: &[Located]) -> Vec<ManifestError> {
    let mut first: BTreeMap<ObjectId, &Located> = BTreeMap::new();
    let mut errors = Vec::new();
    for one in located {
        let id = ObjectId::of(&one.object);
        if let Some(earlier) = first.get(&id) {
            errors.push(ManifestError {
                file: one.file.clone(),
                line: one.line,
                column: 1,
                field: "metadata.name".to_owned(),
                message: format!("{id} is declared twice, first at {}:{}", earlier.file, earlier.line),
                fix: Some("remove one or rename it".to_owned()),
            });
            continue;
        }
        first.insert(id, one);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "apiVersion: pathsteer.io/v1alpha1\nkind: Site\nmetadata: {name: NAME}\nspec: {anchors: [a], vips: [198.18.7.1]}\n";

    fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn load_folder(folder: &tempfile::TempDir) -> Result<Vec<AnyObject>, Failure> {
        load(&[folder.path().display().to_string()])
    }

    #[test]
    fn a_folder_is_read_with_its_folders_and_sorted_by_kind_and_name() {
        let folder = folder(&[
            ("b.yaml", SITE.replace("NAME", "b")),
            ("deep/a.yml", SITE.replace("NAME", "a")),
            ("notes.txt", "not a manifest".into()),
        ]);
        let names: Vec<String> = load_folder(&folder).unwrap().iter().map(AnyObject::key).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn errors_of_all_files_come_together_with_objects_declared_twice() {
        let folder = folder(&[
            ("a.yaml", SITE.replace("NAME", "a")),
            ("b.yaml", SITE.replace("NAME", "a")),
            ("c.yaml", SITE.replace("NAME", "C")),
        ]);
        let Err(Failure::Invalid(errors)) = load_folder(&folder) else { panic!("loaded") };
        assert_eq!(errors.len(), 2);
        assert!(errors[0].to_string().contains("c.yaml:3:"), "{}", errors[0]);
        assert!(errors[1].message.contains("declared twice, first at") && errors[1].file.ends_with("b.yaml"));
    }

    #[test]
    fn no_manifest_at_all_and_no_file_at_all_are_mistakes_of_the_command() {
        assert_eq!(load_folder(&folder(&[])).unwrap_err().exit_code(), 2);
        assert_eq!(load(&["/no/such/file.yaml".to_owned()]).unwrap_err().exit_code(), 2);
    }
}

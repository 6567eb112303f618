//! The file of a backup: lines of JSON, the last of which holds the SHA-256 of all before it.
//!
//! ```text
//! {"pathsteerBackup":1,"created":"2026-11-30T20:00:00Z","revision":1234}
//! {"file":"pki/ca.crt","text":"…"}
//! {"key":"/pathsteer/v1/spec/sites/rv-07","value":"…"}
//! {"lines":3,"sha256":"…"}
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use pathsteer_crds::canonical;
use serde::{Deserialize, Serialize};

/// Version of the format written and read.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    /// When it was made, RFC 3339.
    pub created: String,
    /// Revision of the store that it shows.
    pub revision: i64,
    /// Files of the certificate authority, by name.
    pub pki: BTreeMap<String, String>,
    /// Every key of ours and its value.
    pub keys: BTreeMap<String, String>,
}

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a whole backup: {reason}; take another")]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} is a backup of format {format}, this operator reads {FORMAT}: use the newer program")]
    Format { path: PathBuf, format: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Head {
        #[serde(rename = "pathsteerBackup")]
        format: u32,
        created: String,
        revision: i64,
    },
    File {
        file: String,
        text: String,
    },
    Key {
        key: String,
        value: String,
    },
    Tail {
        lines: usize,
        sha256: String,
    },
}

impl Archive {
    /// The text of the file.
    pub fn to_text(&self) -> String {
        let Archive { created, revision, pki, keys } = self;
        let mut lines = vec![Line::Head { format: FORMAT, created: created.clone(), revision: *revision }];
        lines.extend(pki.iter().map(|(name, text)| Line::File { file: format!("pki/{name}"), text: text.clone() }));
        lines.extend(keys.iter().map(|(key, value)| Line::Key { key: key.clone(), value: value.clone() }));
        let mut text = String::new();
        for line in &lines {
            text.push_str(&canonical::to_json(line));
            text.push('\n');
        }
        let tail = Line::Tail { lines: lines.len(), sha256: canonical::sha256(text.as_bytes()) };
        text.push_str(&canonical::to_json(&tail));
        text.push('\n');
        text
    }

    /// Reads and checks all of `path`.
    ///
    /// # Errors
    /// It cannot be read, is of another format, or is not as it was written.
    pub fn read(path: &Path) -> Result<Archive, ArchiveError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ArchiveError::Read { path: path.to_owned(), source })?;
        let damaged = |reason: String| ArchiveError::Damaged { path: path.to_owned(), reason };
        let whole = text.strip_suffix('\n').unwrap_or_default();
        let last = whole.rfind('\n').map_or(0, |at| at + 1);
        let Ok(Line::Tail { lines: _, sha256 }) = serde_json::from_str(&whole[last..]) else {
            return Err(damaged("its last line is missing".to_owned()));
        };
        if canonical::sha256(&text.as_bytes()[..last]) != sha256 {
            return Err(damaged("its contents do not have the hash that its last line names".to_owned()));
        }
        let mut archive = Archive::default();
        for (n, line) in whole[..last].lines().enumerate() {
            match serde_json::from_str(line).map_err(|error| damaged(format!("line {}: {error}", n + 1)))? {
                Line::Head { format, .. } if format != FORMAT => {
                    return Err(ArchiveError::Format { path: path.to_owned(), format });
                }
                Line::Head { format: _, created, revision } => {
                    (archive.created, archive.revision) = (created, revision)
                }
                Line::File { file, text } => {
                    // A name from a file decides where we write: nowhere but directly in that folder.
                    let name = file
                        .strip_prefix("pki/")
                        .filter(|name| !name.contains('/') && !name.starts_with('.') && !name.is_empty());
                    let name = name.ok_or_else(|| damaged(format!("line {}: `{file}` belongs nowhere", n + 1)))?;
                    archive.pki.insert(name.to_owned(), text);
                }
                Line::Key { key, value } => drop(archive.keys.insert(key, value)),
                Line::Tail { .. } => return Err(damaged(format!("line {} ends it too early", n + 1))),
            }
        }
        Ok(archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        Archive {
            created: "2026-11-30T20:00:00Z".into(),
            revision: 7,
            pki: BTreeMap::from([("ca.key".into(), "secret\n".into())]),
            keys: BTreeMap::from([("/pathsteer/v1/spec/sites/rv-07".into(), "{\"a\":\"\u{fffd}\"}".into())]),
        }
    }

    fn read(text: &str) -> Result<Archive, ArchiveError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Archive::read(file.path())
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(read(&archive().to_text()).unwrap(), archive());
    }

    #[test]
    fn whatever_was_cut_off_or_changed_is_noticed() {
        let text = archive().to_text();
        for end in 0..text.len() {
            if text.is_char_boundary(end) {
                assert!(read(&text[..end]).is_err(), "cut at {end}");
            }
        }
        assert!(read(&text.replace("secret", "public")).unwrap_err().to_string().contains("hash"));
    }

    #[test]
    fn a_backup_of_another_format_or_with_a_file_that_belongs_elsewhere_is_refused() {
        let signed = |body: String| {
            let tail = Line::Tail { lines: 1, sha256: canonical::sha256(body.as_bytes()) };
            format!("{body}{}\n", canonical::to_json(&tail))
        };
        let other = signed("{\"created\":\"\",\"pathsteerBackup\":2,\"revision\":1}\n".to_owned());
        assert!(matches!(read(&other), Err(ArchiveError::Format { format: 2, .. })));
        for file in ["pki/../lock", "/etc/passwd", "pki/"] {
            let bad = signed(format!("{{\"file\":\"{file}\",\"text\":\"\"}}\n"));
            assert!(read(&bad).is_err(), "{file}");
        }
    }
}

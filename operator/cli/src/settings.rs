//! Where the operator is and who we are: flags, then environment (clap merges the two), then the file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Connection;
use crate::failure::Failure;

const DEFAULT_SERVER: &str = "https://127.0.0.1:7443";

/// All that is needed to speak to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub server: String,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `config.yaml`; relative paths are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    server: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Settings {
    /// Settings from the command line and environment in `given`, and from the config file.
    ///
    /// # Errors
    /// A config file that cannot be read, or a setting without a default that nobody gave.
    pub fn load(given: Connection) -> Result<Settings, Failure> {
        let (path, must_exist) = match std::env::var_os("PATHSTEER_CONFIG") {
            Some(path) => (PathBuf::from(path), true),
            None => match std::env::var_os("HOME") {
                Some(home) => (Path::new(&home).join(".config/pathsteer/config.yaml"), false),
                None => return merge(given, ConfigFile::default(), Path::new("config.yaml")),
            },
        };
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => ConfigFile::default(),
            Err(source) => return Err(Failure::File { path, source }),
        };
        merge(given, file, &path)
    }
}

fn parse(text: &str, path: &Path) -> Result<ConfigFile, Failure> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Failure::Config { path: path.to_owned(), message: error.to_string() })
}

fn merge(given: Connection, file: ConfigFile, path: &Path) -> Result<Settings, Failure> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let pick = |flag: Option<PathBuf>, in_file: Option<PathBuf>, name: &str| {
        flag.or(in_file.map(|file| folder.join(file))).ok_or_else(|| {
            let variable = name.to_uppercase();
            Failure::Usage(format!(
                "no {name} given: use --{name} FILE, PATHSTEER_{variable}, or `{name}:` in {}",
                path.display()
            ))
        })
    };
    Ok(Settings {
        server: given.server.or(file.server).unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        ca: pick(given.ca, file.ca, "ca")?,
        cert: pick(given.cert, file.cert, "cert")?,
        key: pick(given.key, file.key, "key")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/home/me/.config/pathsteer/config.yaml";

    #[test]
    fn a_flag_wins_over_the_file_and_paths_in_the_file_are_relative_to_it() {
        let file = parse("ca: ca.crt\ncert: /etc/me.crt\nkey: me.key\nserver: https://a:1", Path::new(PATH)).unwrap();
        let given = Connection { server: Some("https://b:2".into()), key: Some("k".into()), ..Connection::default() };
        let settings = merge(given, file, Path::new(PATH)).unwrap();
        assert_eq!(settings.server, "https://b:2");
        assert_eq!(settings.ca, Path::new("/home/me/.config/pathsteer/ca.crt"));
        assert_eq!(settings.cert, Path::new("/etc/me.crt"));
        assert_eq!(settings.key, Path::new("k"));
    }

    #[test]
    fn a_missing_setting_is_named_with_the_three_ways_to_give_it() {
        let failure = merge(Connection::default(), ConfigFile::default(), Path::new(PATH)).unwrap_err();
        assert_eq!(failure.to_string(), format!("no ca given: use --ca FILE, PATHSTEER_CA, or `ca:` in {PATH}"));
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let failure = parse("sever: https://a:1", Path::new(PATH)).unwrap_err();
        assert!(failure.to_string().contains("sever"), "{failure}");
    }
}

//! Where the operator is and who we are: flags, then environment (clap merges the two), then the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pathsteer_crds::manifest;
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

/// One operator, as the file has it; relative paths are relative to the file's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub server: Option<String>,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// `config.yaml`: one operator, or several by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    server: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// The file, read.
#[derive(Debug)]
pub struct Config {
    pub path: PathBuf,
    /// As it stands there; empty if there is none.
    pub text: String,
    /// The one that is meant when no other is named.
    pub current: Option<String>,
    pub contexts: BTreeMap<String, Context>,
    /// What stands outside of contexts: holds where a context says nothing.
    common: Context,
}

impl Config {
    /// # Errors
    /// The file cannot be read, is none, or is named and not there.
    pub fn load() -> Result<Config, Failure> {
        let (path, must_exist) = match std::env::var_os("PATHSTEER_CONFIG") {
            Some(path) => (PathBuf::from(path), true),
            None => match std::env::var_os("HOME") {
                Some(home) => (Path::new(&home).join(".config/pathsteer/config.yaml"), false),
                None => return parse("", Path::new("config.yaml")),
            },
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => parse("", &path),
            Err(source) => Err(Failure::File { path, source }),
        }
    }

    /// The context `name`.
    ///
    /// # Errors
    /// There is none of that name; the nearest is named.
    pub fn context(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known = self.contexts.keys().map(String::as_str);
            let fix = match manifest::nearest(name, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            Failure::Usage(format!("there is no context `{name}` in {}: {fix}", self.path.display()))
        })
    }
}

impl Settings {
    /// Settings from the command line and environment in `given`, and from the config file.
    ///
    /// # Errors
    /// A config file that cannot be read, or a setting without a default that nobody gave.
    pub fn load(given: Connection) -> Result<Settings, Failure> {
        merge(given, &Config::load()?)
    }
}

fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: ConfigFile = match text.trim() {
        "" => ConfigFile::default(),
        _ => serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| Failure::Config { path: path.to_owned(), message: error.to_string() })?,
    };
    let ConfigFile { server, ca, cert, key, current, contexts } = file;
    let common = Context { server, ca, cert, key };
    Ok(Config { path: path.to_owned(), text: text.to_owned(), current, contexts, common })
}

fn merge(given: Connection, config: &Config) -> Result<Settings, Failure> {
    let context = match given.context.as_ref().or(config.current.as_ref()) {
        Some(name) => config.context(name)?.clone(),
        None => Context::default(),
    };
    let common = config.common.clone();
    let folder = config.path.parent().unwrap_or(Path::new(""));
    let pick = |flag: Option<PathBuf>, in_context: Option<PathBuf>, in_common: Option<PathBuf>, name: &str| {
        flag.or(in_context.or(in_common).map(|file| folder.join(file))).ok_or_else(|| {
            let variable = name.to_uppercase();
            Failure::Usage(format!(
                "no {name} given: use --{name} FILE, PATHSTEER_{variable}, or `{name}:` in {}",
                config.path.display()
            ))
        })
    };
    let server = given.server.or(context.server).or(common.server);
    Ok(Settings {
        server: server.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        ca: pick(given.ca, context.ca, common.ca, "ca")?,
        cert: pick(given.cert, context.cert, common.cert, "cert")?,
        key: pick(given.key, context.key, common.key, "key")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/home/me/.config/pathsteer/config.yaml";

    fn config(text: &str) -> Config {
        parse(text, Path::new(PATH)).unwrap()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_paths_in_the_file_are_relative_to_it() {
        let file = config("ca: ca.crt\ncert: /etc/me.crt\nkey: me.key\nserver: https://a:1");
        let given = Connection { server: Some("https://b:2".into()), key: Some("k".into()), ..Connection::default() };
        let settings = merge(given, &file).unwrap();
        assert_eq!(settings.server, "https://b:2");
        assert_eq!(settings.ca, Path::new("/home/me/.config/pathsteer/ca.crt"));
        assert_eq!(settings.cert, Path::new("/etc/me.crt"));
        assert_eq!(settings.key, Path::new("k"));
    }

    #[test]
    fn the_current_context_is_used_unless_another_is_named_and_shares_what_stands_outside() {
        let file = config(
            "cert: me.crt\nkey: me.key\ncurrent: home\ncontexts:\n  home: {server: https://h:1, ca: h.crt}\n  \
             depot: {server: https://d:1, ca: d.crt, key: d.key}\n",
        );
        let of = |context: Option<&str>| {
            let context = context.map(str::to_owned);
            merge(Connection { context, ..Connection::default() }, &file)
        };
        let (home, depot) = (of(None).unwrap(), of(Some("depot")).unwrap());
        assert_eq!((home.server.as_str(), home.key.ends_with("me.key")), ("https://h:1", true));
        assert_eq!((depot.server.as_str(), depot.key.ends_with("d.key")), ("https://d:1", true));
        let failure = of(Some("hom")).unwrap_err();
        assert_eq!(failure.to_string(), format!("there is no context `hom` in {PATH}: did you mean `home`?"));
    }

    #[test]
    fn a_missing_setting_is_named_with_the_three_ways_to_give_it() {
        let failure = merge(Connection::default(), &config("")).unwrap_err();
        assert_eq!(failure.to_string(), format!("no ca given: use --ca FILE, PATHSTEER_CA, or `ca:` in {PATH}"));
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let failure = parse("sever: https://a:1", Path::new(PATH)).unwrap_err();
        assert!(failure.to_string().contains("sever"), "{failure}");
    }
}

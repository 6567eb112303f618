//! `context`: which operator is meant when none is named.

use std::io::Write;

use crate::failure::Failure;
use crate::settings::Config;
use crate::table::Table;

/// Shows the contexts, or makes `name` the current one.
///
/// # Errors
/// The file cannot be read or written, or has no context of that name.
pub fn context(name: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load()?;
    let Some(name) = name else {
        return Ok(out.write_all(list(&config).as_bytes())?);
    };
    config.context(name)?;
    let failed = |source| Failure::File { path: config.path.clone(), source };
    // Beside and renamed: whoever reads meanwhile finds the whole of the one or of the other.
    let fresh = config.path.with_extension("yaml.new");
    std::fs::write(&fresh, switched(&config.text, name)).map_err(failed)?;
    std::fs::rename(&fresh, &config.path).map_err(failed)?;
    Ok(writeln!(out, "current context is {name}")?)
}

fn list(config: &Config) -> String {
    if config.contexts.is_empty() {
        return format!("there are no contexts in {}\n", config.path.display());
    }
    let mut table = Table::new(&["CURRENT", "NAME", "SERVER"]);
    for (name, context) in &config.contexts {
        let is_current = config.current.as_ref() == Some(name);
        let server = context.server.as_deref().unwrap_or("-");
        table.rows.push(vec![if is_current { "*" } else { "" }.into(), name.as_str().into(), server.into()]);
    }
    table.render(false)
}

/// The text with another current context; everything else, comments too, stays.
fn switched(text: &str, name: &str) -> String {
    let line = format!("current: {name}");
    if !text.lines().any(|old| old.starts_with("current:")) {
        return format!("{line}\n{text}");
    }
    let lines = text.lines().map(|old| if old.starts_with("current:") { line.as_str() } else { old });
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_current_context_changes() {
        let text = "# mine\ncurrent: home  # for now\ncontexts:\n  home: {}\n";
        assert_eq!(switched(text, "depot"), "# mine\ncurrent: depot\ncontexts:\n  home: {}\n");
        assert_eq!(switched("contexts:\n  home: {}\n", "home"), "current: home\ncontexts:\n  home: {}\n");
    }
}

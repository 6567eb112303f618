//! Pages of the documentation whose examples are carried out as they stand: each page against an operator of its own, by a
//! shell, in the folder of the project, and what is printed is compared.
//!
//! `UPDATE_PAGES=1` writes what is printed into the pages; read the difference before you commit it.

mod links;
mod page;
mod reasons;
mod stage;
mod terminal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use page::Page;
use stage::Stage;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = pages()
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            Trial::test(name, move || carried_out(&path))
        })
        .collect();
    trials.push(Trial::test("every_command_has_a_page", every_command_has_a_page));
    trials.extend([
        Trial::test("in_a_terminal_colour_is_for_who_wants_it", terminal::colour_is_for_terminals_and_for_who_wants_it),
        Trial::test(
            "in_a_terminal_a_watch_shows_what_changes_and_ends_by_ctrl_c",
            terminal::a_watch_shows_what_changes_as_it_changes_and_ends_by_ctrl_c,
        ),
        Trial::test("in_a_terminal_events_are_followed_until_ctrl_c", terminal::events_are_followed_until_ctrl_c),
        Trial::test("in_a_terminal_a_log_is_followed_until_ctrl_c", terminal::a_log_is_followed_until_ctrl_c),
        Trial::test("in_a_terminal_an_editor_gets_the_keyboard", terminal::an_editor_gets_the_terminal),
    ]);
    trials.push(Trial::test("every_link_leads_somewhere", links::every_link_leads_somewhere));
    trials.push(Trial::test(
        "every_reason_has_its_place_in_the_page_about_troubles",
        reasons::every_reason_has_its_place_in_the_page,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the project").to_owned()
}

/// Every page below `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["docs", "docs/commands"] {
        let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten();
        pages.extend(
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "md")),
        );
    }
    pages.sort();
    pages
}

fn carried_out(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let page = Page::parse(&text);
    if !page.has_examples() {
        return Ok(());
    }
    let stage = Stage::start()?;
    let (written, differences) = page.run(|command| stage.run(command))?;
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(path, written)?;
        return Ok(());
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(format!("{} is not what is printed:\n{}", path.display(), differences.join("\n")).into()),
    }
}

/// The commands that the program lists, and the pages that there are.
fn every_command_has_a_page() -> Result<(), Failed> {
    let help = std::process::Command::new(stage::program("pathsteer")).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)?;
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut commands: BTreeSet<String> =
        commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(first).collect();
    commands.remove("help");
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let pages: BTreeSet<String> = pages()
        .into_iter()
        .filter(|path| path.parent().is_some_and(|p| p.ends_with("commands")))
        .filter_map(name)
        .collect();
    match commands == pages && !commands.is_empty() {
        true => Ok(()),
        false => Err(format!("commands {commands:?}, pages in docs/commands {pages:?}").into()),
    }
}

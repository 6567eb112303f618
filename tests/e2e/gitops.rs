//! A repository that declares the fleet: the steps of the example pipelines, as GitHub and GitLab would run them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::network::plan::{HQ, OPERATOR, OPERATOR_PORT};
use serde_json::Value;

use crate::stage::{Stage, examples, out};

/// What the pipelines call the repository.
const SOURCE: &str = "fleet-of-mine";
/// So many that one of them may go without a word.
const POLICIES: u16 = 8;

pub fn case(stage: &mut Stage) -> Result<()> {
    let repository = Repository::make(&out().join("gitops"))?;
    let shown = repository.pipelines(stage);
    // Nobody's but ours again.
    stage.fleet.cli(&["apply", "-f", &examples().display().to_string()])?;
    for number in 1..=POLICIES {
        stage.fleet.cli_output(&["delete", "trafficpolicy", &format!("extra-{number}")])?;
    }
    shown
}

/// Which steps a pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    PullRequest,
    Merge,
}

/// A bare repository and somebody's clone of it.
struct Repository {
    clone: PathBuf,
}

impl Repository {
    fn make(folder: &Path) -> Result<Repository> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let repository = Repository { clone: folder.join("clone") };
        let run = |words: &[&str]| {
            let status = std::process::Command::new("git").args(words).current_dir(folder).status();
            ensure!(status.context("starting git")?.success(), "git {} failed", words.join(" "));
            Ok(())
        };
        run(&["init", "--quiet", "--bare", "--initial-branch=main", "fleet.git"])?;
        run(&["clone", "--quiet", "fleet.git", "clone"])?;
        std::fs::create_dir(repository.clone.join("fleet"))?;
        for entry in std::fs::read_dir(examples())? {
            let path = entry?.path();
            std::fs::copy(
                &path,
                repository.clone.join("fleet").join(path.file_name().context("a file without a name")?),
            )?;
        }
        Ok(repository)
    }

    /// Writes `text` to `file` of the fleet and pushes it.
    fn push(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.clone.join("fleet").join(file), text)?;
        for words in [
            &["add", "--all"][..],
            &["-c", "user.name=somebody", "-c", "user.email=somebody@example.net", "commit", "--quiet", "-m", file],
            &["push", "--quiet", "origin", "HEAD:main"],
        ] {
            let status = std::process::Command::new("git").args(words).current_dir(&self.clone).status()?;
            ensure!(status.success(), "git {} failed", words.join(" "));
        }
        Ok(())
    }

    fn pipelines(&self, stage: &mut Stage) -> Result<()> {
        for pipeline in [github as fn(Event) -> Result<Vec<String>>, gitlab] {
            let run = |stage: &Stage, event| self.run(stage, &pipeline(event)?);
            self.push("extra.yaml", &policies(1..=POLICIES))?;
            let shown = run(stage, Event::PullRequest)?;
            let there = stage.fleet.cli(&["get", "trafficpolicies", "-o", "name"])?;
            ensure!(succeeds(&shown)?.contains("+  name: extra-8"), "the difference is not shown");
            ensure!(!there.contains("extra-8"), "a pull request has changed something");
            succeeds(&run(stage, Event::Merge)?)?;

            // What a merge takes away goes, and what somebody has applied by hand stays.
            self.push("extra.yaml", &policies(1..=POLICIES - 1))?;
            let shown = succeeds(&run(stage, Event::PullRequest)?)?;
            ensure!(shown.contains("--- stored/trafficpolicy/extra-8\n+++ /dev/null\n"), "not shown as gone: {shown}");
            ensure!(!shown.contains("stored/trafficpolicy/extra-7"), "it would go too: {shown}");
            let merged = succeeds(&run(stage, Event::Merge)?)?;
            ensure!(merged.contains("trafficpolicy/extra-8 deleted"), "{merged}");
            ensure!(merged.contains("trafficpolicy/extra-7 unchanged"), "{merged}");

            // A repository that has lost most of its files deletes nothing.
            self.push("extra.yaml", &policies(1..=1))?;
            let refused = run(stage, Event::Merge)?;
            let why = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(!refused.status.success() && why.contains("--confirm-prune"), "{why}");
            let there = stage.fleet.cli(&["get", "trafficpolicies", "-o", "name"])?;
            ensure!(there.contains("extra-7"), "it was deleted all the same");

            // What is wrong is told where it is.
            self.push("extra.yaml", &policies(1..=1).replace("ports", "prots"))?;
            let refused = run(stage, Event::PullRequest)?;
            let why = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(!refused.status.success() && why.contains("fleet/extra.yaml:5:"), "{why}");
            stage.fleet.cli(&["delete", "trafficpolicy", "extra-1"])?;
        }
        Ok(())
    }

    /// Runs `steps` in the clone, as one shell after another, where the operator's user is.
    fn run(&self, stage: &Stage, steps: &[String]) -> Result<Output> {
        let hq = stage.network.host(HQ);
        let read = |file: &str| hq.read(&format!("/etc/pathsteer/{file}"));
        let environment = out().join("gitops/environment");
        let server = format!("https://{OPERATOR}:{OPERATOR_PORT}");
        let programs = std::env::current_exe()?.ancestors().nth(2).context("this is in no folder")?.to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
        let given = [
            ("PATH", path),
            ("SOURCE", SOURCE.to_owned()),
            ("GITHUB_ENV", environment.display().to_string()),
            ("RUNNER_TEMP", out().join("gitops/temporary").display().to_string()),
            ("PATHSTEER_SERVER", server),
            ("PATHSTEER_CA", "/etc/pathsteer/ca.crt".to_owned()),
            ("PATHSTEER_CERT", "/etc/pathsteer/admin.crt".to_owned()),
            ("PATHSTEER_KEY", "/etc/pathsteer/admin.key".to_owned()),
            ("CA", read("ca.crt")?),
            ("CERT", read("admin.crt")?),
            ("KEY", read("admin.key")?),
        ];
        std::fs::write(&environment, "")?;
        let mut told = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
        for step in steps {
            let mut command = hq.command("sh");
            let script = format!("cd '{}'\n{step}", self.clone.display());
            command.args(["-ec", &script]).envs(given.iter().map(|(name, value)| (name, value)));
            let added = std::fs::read_to_string(&environment)?;
            command.envs(added.lines().filter_map(|line| line.split_once('=')));
            let output = command.output()?;
            told.stdout.extend(output.stdout);
            told.stderr.extend(output.stderr);
            told.status = output.status;
            if !told.status.success() {
                break;
            }
        }
        Ok(told)
    }
}

fn succeeds(output: &Output) -> Result<String> {
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the pipeline ended with {}: {why}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Policies that nothing here matches.
fn policies(numbers: std::ops::RangeInclusive<u16>) -> String {
    let policy = |number| {
        format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: extra-{number}}}\nspec:\n  \
             match: [{{protocol: tcp, ports: [\"{}\"]}}]\n  treatment: survivable\n  steeringClass: voice\n",
            61_000 + number
        )
    };
    numbers.map(policy).collect::<Vec<_>>().join("---\n")
}

fn pipeline(file: &str) -> Result<Value> {
    let path = examples().join("../gitops").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("reading {file}"))
}

/// What each step runs whose condition holds.
fn github(event: Event) -> Result<Vec<String>> {
    let conditions = BTreeMap::from([
        (None, true),
        (Some("github.event_name == 'pull_request'"), event == Event::PullRequest),
        (Some("github.event_name == 'push'"), event == Event::Merge),
    ]);
    let pipeline = pipeline("github.yml")?;
    let steps = pipeline["jobs"]["fleet"]["steps"].as_array().context("github.yml has no steps")?;
    let mut due = Vec::new();
    for step in steps {
        let condition = step["if"].as_str();
        let holds = conditions.get(&condition).with_context(|| format!("the condition {condition:?} is not known"))?;
        due.extend(step["run"].as_str().filter(|_| *holds).map(str::to_owned));
    }
    Ok(due)
}

fn gitlab(event: Event) -> Result<Vec<String>> {
    let pipeline = pipeline("gitlab-ci.yml")?;
    let last = if event == Event::PullRequest { "diff" } else { "apply" };
    let script = |job: &str| {
        let lines = pipeline[job]["script"].as_array().with_context(|| format!("gitlab-ci.yml has no {job}"))?;
        Ok(lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
    };
    ["validate", last].into_iter().map(script).collect()
}

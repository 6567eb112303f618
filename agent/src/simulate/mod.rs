//! `simulate`: many nodes in one process, to see how an operator bears them. Each has a session of its own and takes the
//! agent's own turns; its kernel is one in memory, so nothing of this machine is changed and nobody needs to be root.

mod in_memory;
mod node;

use std::{io, path::PathBuf};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::config::{Bootstrap, Config, SegmentationChoice, WireguardChoice};

/// A node's certificate, in its folder.
const CERTIFICATE: &str = "node.crt";

/// What is simulated.
#[derive(clap::Args)]
pub struct Simulation {
    /// `https://HOST:PORT`.
    #[arg(long)]
    operator: String,
    /// PEM file with the authority that signed the operator's certificate.
    #[arg(long)]
    ca: PathBuf,
    /// A folder with a folder for each node, called like its Site or Anchor: with its key, as `pathsteer-agent csr` makes it
    /// there, and with its certificate, `node.crt`. The node keeps its state there, too.
    #[arg(long)]
    credentials: PathBuf,
    /// How many of these nodes, by name; all of them without it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    nodes: Option<u32>,
}

/// Why nothing is simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error("cannot read {folder}: {source}")]
    Credentials { folder: PathBuf, source: io::Error },
    #[error(
        "{folder} has {found} nodes and {wanted} are wanted: give each a folder with its certificate in node.crt, and its key \
         beside it (`pathsteer-agent csr --node NAME --state-dir {folder}/NAME`)"
    )]
    TooFew { folder: PathBuf, found: usize, wanted: usize },
    #[error("--operator `{0}` must begin with https://")]
    Operator(String),
}

/// Simulates until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps a node from starting.
pub async fn run(simulation: Simulation) -> anyhow::Result<()> {
    let names = simulation.names()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut nodes = JoinSet::new();
    for name in &names {
        nodes.spawn(node::run(simulation.config(name)));
    }
    tracing::info!(nodes = names.len(), "simulating");
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
        Some(ended) = nodes.join_next() => {
            ended??;
            anyhow::bail!("a node ended");
        }
    }
    Ok(())
}

impl Simulation {
    /// The nodes, by name.
    fn names(&self) -> Result<Vec<String>, SimulationError> {
        let folder = || self.credentials.clone();
        if !self.operator.starts_with("https://") {
            return Err(SimulationError::Operator(self.operator.clone()));
        }
        let unreadable = |source| SimulationError::Credentials { folder: folder(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.credentials).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.path().join(CERTIFICATE).exists() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        let (found, wanted) = (names.len(), self.nodes.map_or(names.len().max(1), |nodes| nodes as usize));
        if found < wanted {
            return Err(SimulationError::TooFew { folder: folder(), found, wanted });
        }
        names.truncate(wanted);
        Ok(names)
    }

    /// As a node of that name would find it in its file.
    fn config(&self, name: &str) -> Config {
        let state_dir = self.credentials.join(name);
        Config {
            node: name.to_owned(),
            operator: self.operator.clone(),
            ca: self.ca.clone(),
            certificate: state_dir.join(CERTIFICATE),
            state_dir,
            wireguard: WireguardChoice::default(),
            segmentation: SegmentationChoice::default(),
            bootstrap: Bootstrap::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulation(folder: &std::path::Path, nodes: Option<u32>) -> Simulation {
        let (operator, ca) = ("https://127.0.0.1:7443".to_owned(), PathBuf::from("/none"));
        Simulation { operator, ca, credentials: folder.to_owned(), nodes }
    }

    #[test]
    fn nodes_are_the_folders_with_a_certificate_by_name_and_no_more_than_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c", "without"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["b", "a", "c"] {
            std::fs::write(folder.path().join(name).join(CERTIFICATE), "").unwrap();
        }
        assert_eq!(simulation(folder.path(), None).names().unwrap(), ["a", "b", "c"]);
        assert_eq!(simulation(folder.path(), Some(2)).names().unwrap(), ["a", "b"]);
        let refused = simulation(folder.path(), Some(4)).names().unwrap_err().to_string();
        assert!(
            refused.contains("has 3 nodes and 4 are wanted") && refused.contains("pathsteer-agent csr"),
            "{refused}"
        );
        let nowhere = simulation(&folder.path().join("nowhere"), None).names().unwrap_err().to_string();
        assert!(nowhere.contains("cannot read"), "{nowhere}");
    }
}

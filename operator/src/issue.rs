//! `issue`: signs a certificate with the authority in the data folder.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::args::Issue;
use crate::pki::{Authority, AuthorityError, IssueError};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Signs the request and writes the certificate.
///
/// # Errors
/// A request that cannot be read or signed, an authority or an output file that cannot be used.
pub fn issue(arguments: &Issue) -> Result<(), CommandError> {
    let Issue { party, name, csr, out, data_dir } = arguments;
    let request = if csr.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(csr)
    };
    let request = request.map_err(|source| CommandError::Read { path: csr.clone(), source })?;
    let certificate = Authority::open(data_dir)?.issue(*party, name, &request)?;
    match out {
        Some(path) => {
            fs::write(path, certificate).map_err(|source| CommandError::Write { path: path.clone(), source })?;
        }
        None => {
            let stdout = PathBuf::from("standard output");
            io::stdout()
                .write_all(certificate.as_bytes())
                .map_err(|source| CommandError::Write { path: stdout, source })?;
        }
    }
    Ok(())
}

//! Who is who: the certificate authority of the installation, and what it signs.

mod authority;
mod issue;
pub mod private_file;
mod tls;

pub use authority::{Authority, AuthorityError};
pub use issue::{IssueError, Party};
pub use tls::{TlsError, server_config};

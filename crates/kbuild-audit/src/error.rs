//! Why layers cannot be read.

use std::io;
use std::path::{Path, PathBuf};

/// A path that is not a directory of layers, or that cannot be read. The content of a layer is never an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not a directory.
    #[error("{} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// A directory without a layer in it.
    #[error("there is no BitBake layer in {}", .0.display())]
    NoLayer(PathBuf),
    /// The system refuses a file or a directory.
    #[error("could not read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The result of reading layers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Error {
        Error::Read { path: path.to_owned(), source }
    }
}

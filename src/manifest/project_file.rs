//! Files of the project that the manifest names and that count as part of it.

use std::path::{Component, Path, PathBuf};

use super::raw::RawText;
use crate::disk;
use crate::error::{Error, Result};

/// Reads a file of the project, of at most `limit` bytes; `what` it is, is for messages.
///
/// # Errors
/// It is outside of the project, not there, or too long: with the place in the manifest.
pub(super) fn read(text: &RawText, root: &Path, what: &str, limit: u64) -> Result<Vec<u8>> {
    let path = root.join(place(text, root, what)?);
    disk::read_small(&path, what, limit).map_err(|error| error.at(text.span.clone(), "this file"))
}

/// The path of a file or directory of the project, relative to the manifest, in normal form.
///
/// # Errors
/// It is outside of the project, or not there.
pub(super) fn place(text: &RawText, root: &Path, what: &str) -> Result<PathBuf> {
    let fault = |message: String, label: &str| Error::input(message).at(text.span.clone(), label.to_owned());
    let mut normal = PathBuf::new();
    for component in Path::new(text.as_str()).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => normal.push(part),
            _ => {
                let message = format!("{what} must be inside the project");
                return Err(fault(message, "it leads out").help("give a path below the manifest's directory"));
            }
        }
    }
    let Ok(real) = root.join(&normal).canonicalize() else {
        let message = format!("there is no {what} `{}`", text.escape_debug());
        return Err(fault(message, "not found").help("the path is relative to the manifest"));
    };
    if !root.canonicalize().is_ok_and(|root| real.starts_with(root)) {
        return Err(fault(format!("{what} must be inside the project"), "a symbolic link leads out"));
    }
    Ok(normal)
}

//! A file of the project as a revision of its git repository has it.

use std::path::Path;

use git2::{ErrorCode, Repository};

use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};

/// The text that a file has at a revision, as git reads it (gitrevisions(7)).
///
/// # Errors
/// The file is in no work tree of git, or the revision does not exist or does not have it: kind `Input`.
pub(super) fn text_at(file: &Path, revision: &str) -> Result<String> {
    let shown = disk::shown(file);
    let directory = file.parent().unwrap_or(Path::new("."));
    let directory = std::fs::canonicalize(directory).map_err(|error| Error::io("find", directory, error))?;
    let repository = Repository::discover(&directory).map_err(|error| {
        let error = Error::input(format!("{shown} is in no git repository")).because(error.message().to_owned());
        error.help("name the older lock's file: `kbuild diff FILE`")
    })?;
    let inside = repository.workdir().and_then(|top| std::fs::canonicalize(top).ok());
    let name = file.file_name().unwrap_or_default();
    let inside = inside.and_then(|top| Some(directory.strip_prefix(top).ok()?.join(name)));
    let inside = inside.ok_or_else(|| Error::input(format!("{shown} is in no work tree of git")))?;
    let escaped = revision.escape_debug();
    let unknown = |error: git2::Error| {
        Error::input(format!("`{escaped}` is neither a file nor a revision of the project's repository"))
            .because(error.message().to_owned())
            .help("name a file, a branch, a tag or a commit; `git log` lists commits")
    };
    let tree = repository.revparse_single(revision).and_then(|object| object.peel_to_tree()).map_err(unknown)?;
    let entry = tree.get_path(&inside).map_err(|error| match error.code() {
        ErrorCode::NotFound => Error::input(format!("`{escaped}` has no {}", inside.display()))
            .help("commit the lock first, or name an older lock's file"),
        _ => unknown(error),
    })?;
    let object = entry.to_object(&repository).map_err(unknown)?;
    let blob = object.as_blob().filter(|blob| blob.size() as u64 <= bounds::LOCK);
    let text = blob.and_then(|blob| str::from_utf8(blob.content()).ok()).map(str::to_owned);
    text.ok_or_else(|| Error::input(format!("what `{escaped}` has as {} is not a lock", inside.display())))
}

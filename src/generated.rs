//! Files of this repository that are made from the code, and the test's way to hold them against it.

use std::path::Path;

use crate::env_vars::KBUILD_UPDATE_DOCS;

/// How the files are written anew.
const ACCEPT: &str = "KBUILD_UPDATE_DOCS=1 cargo test --lib is_current";

/// Compares a file of this repository with what the code says. Where [`KBUILD_UPDATE_DOCS`] is set, writes it.
///
/// # Panics
/// When they differ. The message shows the first line that does, and the command that writes the file.
pub(crate) fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os(KBUILD_UPDATE_DOCS).is_some() {
        crate::disk::replace_if_changed(&path, text.as_bytes()).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    if present == text {
        return;
    }
    let same = present.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(the end of the file)").to_owned();
    panic!(
        "{file} is not what the code says, from line {}:\n  file: {}\n  code: {}\nto write it anew: {ACCEPT}",
        same + 1,
        line(&present),
        line(text),
    );
}

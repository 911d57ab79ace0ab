//! Checks of a layer's `signers`.

use std::path::Path;

use super::document::Diagnostics;
use super::project_file;
use super::raw::{At, RawSigner, RawText};
use crate::bounds;
use crate::error::{Error, Result};
use crate::source::signer::{Signers, fingerprint};

/// The signers of a layer, their files read; `root` is the project's directory.
pub(super) fn check(whose: &str, list: &At<Vec<At<RawSigner>>>, root: &Path, diagnostics: &mut Diagnostics) -> Signers {
    let mut signers = Signers::default();
    if list.is_empty() {
        let fault = Error::input(format!("{whose} has no signers")).at(list.span.clone(), "nobody could sign it");
        diagnostics.add(fault.help("name one, or remove `signers`: then the commit need not be signed"));
    }
    for signer in &list.value {
        diagnostics.take(add(&mut signers, signer, root));
    }
    signers
}

fn add(signers: &mut Signers, signer: &At<RawSigner>, root: &Path) -> Result<()> {
    match &signer.value {
        RawSigner::Key(key) => {
            if signers.add_ssh_key(key) {
                return Ok(());
            }
            let fault = Error::input("a signer is not a public key of ssh").at(signer.span.clone(), "this");
            Err(fault.help("copy the line of the `.pub` file: `ssh-ed25519 AAAA…`; for a file of several write { allowed-signers = \"FILE\" }"))
        }
        RawSigner::Allowed { allowed_signers } => {
            let bytes = project_file::read(allowed_signers, root, "file of allowed signers", bounds::MANIFEST)?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Error::input("a file of allowed signers is not text").at(allowed_signers.span.clone(), "this file")
            })?;
            check_allowed(&text).map_err(|error| error.at(allowed_signers.span.clone(), "this file"))?;
            signers.add_allowed_signers(&text);
            Ok(())
        }
        RawSigner::Keyring { keyring, fingerprints } => {
            let keys = project_file::read(keyring, root, "keyring", bounds::MANIFEST)?;
            let fingerprints = fingerprints.iter().map(fingerprint_of).collect::<Result<Vec<_>>>()?;
            if fingerprints.is_empty() {
                let fault =
                    Error::input("a keyring names no fingerprints").at(keyring.span.clone(), "which of its keys?");
                return Err(fault.help("`gpg --show-keys FILE` prints them"));
            }
            signers.add_keyring(keys, fingerprints);
            Ok(())
        }
    }
}

/// ssh-keygen passes over lines that it cannot read: a file without one that it can would refuse everything.
fn check_allowed(text: &str) -> Result<()> {
    let is_entry = |line: &str| !line.is_empty() && !line.starts_with('#') && line.split_whitespace().count() >= 3;
    if text.lines().any(|line| is_entry(line.trim())) {
        return Ok(());
    }
    let help = "a line of it is `NAME ssh-ed25519 AAAA…`, see ALLOWED SIGNERS in ssh-keygen(1)";
    Err(Error::input("a file of allowed signers names nobody").help(help))
}

fn fingerprint_of(text: &RawText) -> Result<String> {
    fingerprint(text).ok_or_else(|| {
        Error::input(format!("`{}` is not a fingerprint of OpenPGP", text.escape_debug()))
            .at(text.span.clone(), "this")
            .help("give all 40 (or 64) digits, as `gpg --show-keys FILE` prints them")
    })
}

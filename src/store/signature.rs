//! Signatures of commits and tags, checked by git itself: with the signers that are given and nobody else's, neither keys nor
//! configuration of the user. git runs ssh-keygen and gpg for it.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use git2::Oid;

use super::Store;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{Objects, broken_object, could_not_start, ends_with_kbuild, failed, local_git};
use crate::source::{CommitId, Keyring, Signers};

/// What came of looking at a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// One of the signers made it.
    Good,
    /// It does not count, with the reason: "it is not signed".
    Refused(String),
}

/// The two ways in which git signs that are understood. X.509 is none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ssh,
    OpenPgp,
}

impl Scheme {
    /// That of an armoured signature.
    fn of(text: &str) -> Option<Scheme> {
        if text.contains("-----BEGIN SSH SIGNATURE-----") {
            Some(Scheme::Ssh)
        } else if text.contains("-----BEGIN PGP SIGNATURE-----") || text.contains("-----BEGIN PGP MESSAGE-----") {
            Some(Scheme::OpenPgp)
        } else {
            None
        }
    }
}

impl Store {
    /// Whether one of the signers signed a commit.
    ///
    /// # Errors
    /// The commit is not in the store (kind `Missing`), or ssh-keygen or gpg is not installed (kind `Input`).
    pub fn signature_of_commit(&self, commit: &CommitId, signers: &Signers) -> Result<Signature> {
        let opened = self.open_commit(commit)?;
        let id = Oid::from_bytes(commit.as_bytes()).map_err(broken_object)?;
        let signature = match opened.extract_signature(&id, None) {
            Ok((signature, _)) => String::from_utf8_lossy(&signature).into_owned(),
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(unsigned()),
            Err(error) => return Err(broken_object(error)),
        };
        self.verify_object(&opened, &["verify-commit", "--raw"], &commit.to_string(), Scheme::of(&signature), signers)
    }

    /// Whether one of the signers signed a tag that leads to a commit; `text` is the tag's object.
    ///
    /// # Errors
    /// Those of [`Store::signature_of_commit`].
    pub fn signature_of_tag(&self, tag: &str, text: &str, commit: &CommitId, signers: &Signers) -> Result<Signature> {
        let head = text.split("\n\n").next().unwrap_or_default();
        let says = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        // A signed tag of another name, or for another commit, says nothing about this one.
        if says("tag") != Some(tag) || says("type") != Some("commit") || says("object") != Some(&commit.to_string()) {
            return Ok(Signature::Refused(format!("the tag's object is not of `{tag}` at {}", commit.short())));
        }
        let opened = self.open_commit(commit)?;
        let mut write = local_git(opened.directory());
        write.args(["hash-object", "-t", "tag", "-w", "--stdin"]);
        let id = output_of(write, text.as_bytes())?;
        if !id.status.success() {
            return Err(failed(&id, Kind::Mismatch));
        }
        let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        self.verify_object(&opened, &["verify-tag", "--raw"], &id, Scheme::of(text), signers)
    }

    fn verify_object(
        &self,
        objects: &Objects,
        verb: &[&str],
        id: &str,
        scheme: Option<Scheme>,
        signers: &Signers,
    ) -> Result<Signature> {
        let place = self.workplace()?;
        let mut git = local_git(objects.directory());
        match scheme {
            None => return Ok(unsigned()),
            Some(Scheme::Ssh) if signers.ssh.is_empty() => {
                return Ok(Signature::Refused("it is signed by ssh, and no signer is a key of ssh".to_owned()));
            }
            Some(Scheme::OpenPgp) if signers.openpgp.is_empty() => {
                return Ok(Signature::Refused("it is signed by OpenPGP, and no signer is a key of OpenPGP".to_owned()));
            }
            Some(Scheme::Ssh) => {
                must_be_installed("ssh-keygen", "install OpenSSH's ssh-keygen (Debian: openssh-client), 8.2 or newer")?;
                let allowed = place.path().join("allowed-signers");
                disk::replace(&allowed, signers.ssh.as_bytes())?;
                git.arg("-c").arg(format!("gpg.ssh.allowedSignersFile={}", allowed.display()));
                git.args(["-c", "gpg.ssh.program=ssh-keygen"]);
            }
            Some(Scheme::OpenPgp) => {
                must_be_installed("gpg", "install GnuPG (Debian: gpg)")?;
                let home = place.path().join("gnupg");
                import(&signers.openpgp, &home)?;
                git.env("GNUPGHOME", home).args(["-c", "gpg.program=gpg"]);
            }
        }
        git.args(verb).arg(id);
        let output = output_of(git, b"")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(match scheme {
            Some(Scheme::OpenPgp) => judge_openpgp(&said, &signers.openpgp),
            _ => judge_ssh(&said, output.status.success()),
        })
    }
}

fn unsigned() -> Signature {
    Signature::Refused("it is not signed".to_owned())
}

fn must_be_installed(program: &str, help: &str) -> Result<()> {
    which::which(program).map(drop).map_err(|_| {
        Error::input(format!("`{program}` is not installed, and a layer's signature cannot be checked without it"))
            .help(help)
    })
}

/// Makes a GNUPGHOME with these keys. No agent is started: only public keys are read.
fn import(keyrings: &[Keyring], home: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(home);
    made.map_err(|error| Error::io("create", home, error))?;
    for keyring in keyrings {
        let mut gpg = Command::new("gpg");
        gpg.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        gpg.env("LC_ALL", "C").env("HOME", home).env("GNUPGHOME", home);
        gpg.args(["--batch", "--no-autostart", "--quiet", "--no-auto-check-trustdb", "--import"]);
        ends_with_kbuild(&mut gpg);
        let output = output_of(gpg, &keyring.keys)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let error = Error::input("gpg could not read the keyring of a layer's signers").because(said);
            return Err(error.help("export it with `gpg --armor --export FINGERPRINT > FILE`"));
        }
    }
    Ok(())
}

fn output_of(mut command: Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(could_not_start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever reads none of it has its reasons, and says them.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().map_err(could_not_start)
}

/// ssh-keygen names the signer only where it found one; git's status says the same.
fn judge_ssh(said: &str, succeeded: bool) -> Signature {
    if succeeded && said.lines().any(|line| line.starts_with("Good \"git\" signature for ")) {
        return Signature::Good;
    }
    let stranger = said.lines().find_map(|line| line.strip_prefix("Good \"git\" signature with "));
    Signature::Refused(match stranger {
        Some(key) => format!("it is signed with {}, which is not one of the signers", printable(key)),
        None => {
            format!("its signature is not good: {}", printable(said.lines().next().unwrap_or("git gives no reason")))
        }
    })
}

/// Reads gpg's status lines (doc/DETAILS of GnuPG). git's own status is not asked: it refuses the signature of a key that expired
/// since, and a lock must mean tomorrow what it means today. A key that is not trusted any more is removed from the signers.
fn judge_openpgp(said: &str, keyrings: &[Keyring]) -> Signature {
    let status = |name: &str| -> Vec<Vec<&str>> {
        let lines =
            said.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")?.strip_prefix(name)?.strip_prefix(' '));
        lines.map(|line| line.split(' ').collect()).collect()
    };
    let refused = |why: String| Signature::Refused(why);
    for (name, why) in [
        ("BADSIG", "its signature does not belong to it"),
        ("REVKEYSIG", "it is signed with a key that was revoked"),
        ("EXPSIG", "its signature has expired"),
    ] {
        if !status(name).is_empty() {
            return refused(why.to_owned());
        }
    }
    if let Some(error) = status("ERRSIG").first() {
        // Its seventh field is the fingerprint, where the signature has one.
        let key = error.get(6).filter(|key| key.len() >= 40).or(error.first()).copied().unwrap_or_default();
        return refused(format!("it is signed with the OpenPGP key {}, which is not in the keyring", printable(key)));
    }
    match status("VALIDSIG").as_slice() {
        [valid] => {
            let (own, primary) =
                (valid.first().copied().unwrap_or_default(), valid.last().copied().unwrap_or_default());
            let counts = |key: &String| key == own || key == primary;
            if keyrings.iter().flat_map(|keyring| &keyring.fingerprints).any(counts) {
                return Signature::Good;
            }
            refused(format!(
                "it is signed with the OpenPGP key {}, which is not one of the signers",
                printable(primary)
            ))
        }
        _ => refused("gpg does not say that its signature is good".to_owned()),
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(fingerprint: &str) -> Vec<Keyring> {
        vec![Keyring { keys: Vec::new(), fingerprints: vec![fingerprint.to_owned()] }]
    }

    #[test]
    fn only_a_key_that_is_named_counts_whatever_gpg_finds_good() {
        let (own, primary) = ("A".repeat(40), "B".repeat(40));
        let valid = format!("[GNUPG:] GOODSIG 1 T\n[GNUPG:] VALIDSIG {own} 2026-01-01 1 0 4 0 22 8 00 {primary}\n");
        assert_eq!(judge_openpgp(&valid, &keyring(&own)), Signature::Good);
        assert_eq!(judge_openpgp(&valid, &keyring(&primary)), Signature::Good);
        assert!(
            matches!(judge_openpgp(&valid, &keyring(&"C".repeat(40))), Signature::Refused(why) if why.contains(&primary))
        );
        for bad in ["BADSIG 1 T", "REVKEYSIG 1 T", "EXPSIG 1 T", "ERRSIG 1 22 8 00 1 9 -"] {
            let said = format!("{valid}[GNUPG:] {bad}\n");
            assert!(matches!(judge_openpgp(&said, &keyring(&own)), Signature::Refused(_)), "{bad}");
        }
        assert!(matches!(judge_openpgp(&valid.repeat(2), &keyring(&own)), Signature::Refused(_)), "two signatures");
        assert!(matches!(judge_openpgp("", &keyring(&own)), Signature::Refused(_)));
    }

    #[test]
    fn ssh_keygen_has_to_name_a_signer() {
        let good = "Good \"git\" signature for signer with ED25519 key SHA256:x\n";
        assert_eq!(judge_ssh(good, true), Signature::Good);
        assert!(matches!(judge_ssh(good, false), Signature::Refused(_)));
        let stranger = "Good \"git\" signature with ED25519 key SHA256:x\nNo principal matched.\n";
        assert!(matches!(judge_ssh(stranger, true), Signature::Refused(why) if why.contains("SHA256:x")));
    }
}

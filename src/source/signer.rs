//! Who may sign a layer's commits and tags: keys of ssh and of OpenPGP.

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest as _, Sha256 as Sha256Hasher};

use super::Blake3;

/// Kinds of public keys that `ssh-keygen` verifies signatures with.
const SSH_KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The signers that a layer allows. One of them is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers {
    /// Lines of git's `gpg.ssh.allowedSignersFile` (ssh-keygen(1), "ALLOWED SIGNERS").
    pub ssh: String,
    /// Keyrings of OpenPGP.
    pub openpgp: Vec<Keyring>,
    /// What the lock says of them: sorted, nothing secret. When it changes, signatures are checked again.
    pub identities: Vec<String>,
}

/// Public keys of OpenPGP, and which of them count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// The file, as `gpg --export` writes it.
    pub keys: Vec<u8>,
    /// Fingerprints of the keys that count, in capitals: of a primary key, or of one subkey alone.
    pub fingerprints: Vec<String>,
}

impl Signers {
    /// Adds a public key as ssh writes it: kind, base64, and a comment that does not count. `false`: it is none.
    pub fn add_ssh_key(&mut self, key: &str) -> bool {
        let mut words = key.split_ascii_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else { return false };
        let Some(bytes) = decoded(kind, blob) else { return false };
        self.ssh.push_str(&format!("signer namespaces=\"git\" {kind} {blob}\n"));
        // As `ssh-keygen -l` prints it.
        let hash = BASE64_NOPAD.encode(&Sha256Hasher::digest(&bytes));
        self.add_identity(format!("ssh SHA256:{hash}"));
        true
    }

    /// Adds a file in the format of git's `gpg.ssh.allowedSignersFile`.
    pub fn add_allowed_signers(&mut self, text: &str) {
        self.ssh.push_str(text);
        self.ssh.push('\n');
        self.add_identity(format!("allowed-signers blake3:{}", Blake3::of(text.as_bytes())));
    }

    /// Adds keys of OpenPGP. Revocations are in the keyring, so that its bytes count too.
    pub fn add_keyring(&mut self, keys: Vec<u8>, fingerprints: Vec<String>) {
        let keyring = Blake3::of(&keys);
        for fingerprint in &fingerprints {
            self.add_identity(format!("openpgp {fingerprint} of blake3:{keyring}"));
        }
        self.openpgp.push(Keyring { keys, fingerprints });
    }

    fn add_identity(&mut self, identity: String) {
        if let Err(place) = self.identities.binary_search(&identity) {
            self.identities.insert(place, identity);
        }
    }
}

/// The bytes of a key. They begin with its kind, after the kind's length (RFC 4253, section 6.6).
fn decoded(kind: &str, blob: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(blob.as_bytes()).ok()?;
    let length = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let says = bytes.get(4..)?.get(..length)?;
    (SSH_KINDS.contains(&kind) && says == kind.as_bytes()).then_some(bytes)
}

/// A fingerprint of OpenPGP (40 or 64 hexadecimal digits, spaces between them allowed), in capitals without spaces.
pub fn fingerprint(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect();
    let whole = matches!(digits.len(), 40 | 64) && digits.chars().all(|c| c.is_ascii_hexdigit());
    whole.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZi3zNYCpkWS4rHkMubF6QX/W7l5uOk8nSX2ajBbUAp";

    #[test]
    fn a_public_key_is_known_by_its_fingerprint_and_its_comment_does_not_count() {
        let mut signers = Signers::default();
        assert!(signers.add_ssh_key(&format!("{KEY} somebody@example.org")));
        assert!(signers.add_ssh_key(KEY));
        assert_eq!(signers.identities, ["ssh SHA256:i++dd+R1kxmIP6udZjqzylKvDO8yG1pOKdYFjX856Sg"]);
        assert!(!signers.ssh.contains("somebody"));
        for wrong in ["", "ssh-ed25519", "ssh-ed25519 xyz", &KEY.replacen("ssh-ed25519", "ssh-rsa", 1), "-----BEGIN"] {
            assert!(!signers.add_ssh_key(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_is_whole() {
        let written = "0AB2 CBD2 B50B 88A2 D249  5476 5F4B A28D D55F 4F57";
        assert_eq!(fingerprint(written).unwrap(), "0AB2CBD2B50B88A2D24954765F4BA28DD55F4F57");
        assert_eq!(fingerprint("0123456789012345"), None, "a key id may be anybody's");
    }
}

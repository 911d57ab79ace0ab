//! What the tests of kbuild share: a project in which the built program runs ([`TestProject`]), servers that misbehave on
//! purpose, real servers, and the BitBake of the tests. Only tests depend on this crate; it knows nothing of kbuild's library.

// Tests prepare files as they like.
#![allow(clippy::disallowed_methods)]

pub mod engine;
pub mod ftp;
pub mod http;
pub mod lfs;
pub mod moto;
pub mod pages;
pub mod project;
pub mod quickstart;
pub mod registry;
pub mod servers;
pub mod socks;

pub use project::TestProject;

use sha2::Digest as _;

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

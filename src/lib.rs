//! kbuild: a declarative, Nix-style lockfile for BitBake/Yocto.
//!
//! Data flows one way. `kbuild.toml` ([`manifest`]) is resolved into `kbuild.lock` ([`lock`]) by [`resolve`], and its
//! sources ([`source`]) are fetched ([`fetch`], over [`net`] and [`oci`]) into the content-addressed store ([`store`]).
//! From there BitBake gets a configuration and a view ([`bitbake`]), and a board is built ([`builder`]), with what tasks made
//! before out of caches ([`cache`]). [`bundle`],
//! [`serve`], [`mirror`] and [`remote`] pass the store's content on to other machines. A later room uses the earlier
//! rooms' values, never the reverse. [`probe`] asks upstreams what they still have. [`crates`] makes a recipe's include from a
//! Cargo.lock. Only [`cli`] prints.

// Tests prepare files as they like, and share modules.
#![cfg_attr(test, allow(clippy::disallowed_methods, unreachable_pub))]

pub mod bitbake;
pub mod bounds;
#[expect(clippy::disallowed_methods, reason = "it writes to /proc, and to a directory that it removes at once")]
pub mod builder;
pub mod bundle;
pub mod cache;
pub mod cli;
pub mod crates;
pub mod disk;
pub mod env_vars;
pub mod error;
pub mod fetch;
pub mod files;
pub mod foreign;
#[cfg(test)]
mod generated;
pub mod git;
pub mod lock;
pub mod manifest;
pub mod mirror;
pub mod net;
pub mod oci;
pub mod probe;
pub mod progress;
pub mod remote;
pub mod resolve;
pub mod serve;
pub mod source;
pub mod store;
pub mod suggest;

pub use error::{Error, Kind, Result};

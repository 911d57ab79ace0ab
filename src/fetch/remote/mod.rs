//! Places beyond plain servers.

pub mod archive;
pub mod login;
pub mod registry;

//! Registries of container images, by the OCI distribution and image specifications.
//!
//! What may enter: how to ask a registry, how to log in, and the one-file layout that kbuild makes of an image. This room
//! does not know whether an image is a source ([`fetch`](crate::fetch)) or a store elsewhere ([`remote`](crate::remote)).

pub mod auth;
pub mod client;
pub mod layout;
pub mod response;

//! Registries of container images, as the OCI distribution and image specifications have them.
//!
//! What may enter: how a registry is asked, how one logs in, and the one-file layout that kbuild makes of an image. Whether
//! an image is a source ([`fetch`](crate::fetch)) or a store elsewhere ([`remote`](crate::remote)) is not known here.

pub mod auth;
pub mod client;
pub mod layout;
pub mod response;

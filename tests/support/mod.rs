//! What the end-to-end tests share: see `docs/development.md`.

pub mod bench;
pub mod engine;
pub mod http;
pub mod moto;
pub mod quickstart;
pub mod registry;
pub mod servers;

//! What the end-to-end tests share: see `docs/development.md`.

pub mod bench;
pub mod quickstart;

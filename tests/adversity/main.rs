//! What goes wrong around kbuild: kills, faults of the disk, misbehaving upstreams, neighbours, hostile input.
//!
//! docs/reference/faults.md says what kbuild does about each. A run of `cargo test` takes seconds; `just adversity` is the
//! long one. What is chosen by chance follows from a seed, which each test prints: `KBUILD_ADVERSITY_SEED` repeats a run, as
//! far as the machine's own timing allows, and `KBUILD_ADVERSITY_ROUNDS` says how often.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like.

mod bounds;
mod disk;
mod hostile;
mod kills;
mod neighbours;
mod upstreams;
mod world;

//! End-to-end tests: the built binary, run as a user would.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

mod absent;
mod audit;
mod book;
mod bringing_over;
mod caches;
mod carrying;
mod closure;
mod crates;
mod diffing;
mod editing;
mod everyday;
mod fetching;
mod flagship;
mod images;
mod including;
mod interrupting;
mod language;
mod lfs;
mod lower;
mod merging;
mod names;
mod patching;
mod pins;
mod pipeline;
mod plain;
mod probing;
mod queries;
mod real_closure;
mod registries;
mod remotes;
mod run;
mod seal;
mod serving;
mod signing;
mod together;
mod truth;
mod updating;
mod wrong_input;

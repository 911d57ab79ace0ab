//! The interface to BitBake: its configuration, and how it is called.
//!
//! What may enter: BitBake's variables, file formats, command line, environment and exit status. Nothing of Kata,
//! nothing that decides which sources a build has (the lock), where bytes are stored (the store) or when BitBake runs
//! (`builder`).

pub mod conf;
pub mod discovery;
pub mod engine;
pub mod fetchers;
pub mod graph;
pub mod metadata;
pub mod readers;
pub mod report;
pub mod site;
pub mod snapshot;
pub mod text;

pub use conf::{BoardConf, Declared, SrcrevPin};
pub use engine::{Engine, Job, Verbosity};
pub use report::DiscoveryReport;
pub use site::{Base, SiteConf};

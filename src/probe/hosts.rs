//! What hangs on each host.

use std::collections::{BTreeMap, BTreeSet};

use super::{ProbeFinding, ProbedSource};

/// What hangs on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostLoad {
    /// With the port, if it is not the usual one.
    pub host: String,
    /// How many sources have a URL there.
    pub sources: usize,
    /// How many of them have no URL elsewhere.
    pub alone: usize,
    /// The boards that need one of those: they would stop with the host.
    pub boards: BTreeSet<String>,
    /// How many of its sources nobody without a mirror could fetch now.
    pub stopped: usize,
}

/// The hosts of some sources, the one first that would stop most boards, then most sources.
pub(super) fn loads(sources: &[ProbedSource]) -> Vec<HostLoad> {
    let mut loads: BTreeMap<String, HostLoad> = BTreeMap::new();
    for source in sources {
        let hosts: BTreeSet<String> =
            source.looks.iter().map(|look| look.asked.host()).filter(|host| !host.is_empty()).collect();
        let stopped = source.findings.iter().any(ProbeFinding::stops);
        for host in &hosts {
            let load =
                loads.entry(host.clone()).or_insert_with(|| HostLoad { host: host.clone(), ..HostLoad::default() });
            load.sources += 1;
            load.stopped += usize::from(stopped);
            if hosts.len() == 1 {
                load.alone += 1;
                load.boards.extend(source.boards.iter().cloned());
            }
        }
    }
    let mut loads: Vec<HostLoad> = loads.into_values().collect();
    // A stable sort: hosts with the same load stay in the order of their names.
    loads.sort_by_key(|load| std::cmp::Reverse((load.boards.len(), load.alone, load.sources)));
    loads
}

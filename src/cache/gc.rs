//! What of a directory of shared state can go: what was not used for long, and the longest unused above a size.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{LocalObject, LocalState};
use crate::disk;
use crate::error::Result;

/// What may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheLimits {
    /// What was used within this time.
    pub age: Option<Duration>,
    /// At most so many bytes.
    pub size: Option<u64>,
}

/// What goes and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheGcPlan {
    /// What goes: objects, each with what stands beside it.
    pub removed: Vec<LocalObject>,
    /// Number of objects that stay, with what stands beside them.
    pub kept: usize,
    /// Their size, in bytes.
    pub kept_bytes: u64,
}

impl CacheGcPlan {
    /// The size of what goes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|object| object.size).sum()
    }
}

/// Plans what goes. An object counts as used when BitBake last made it or looked at it: builds touch all that their tasks'
/// hashes ask for (`sstate_checkhashes`), so what the boards' current hashes need is the youngest.
///
/// # Errors
/// The directory cannot be read.
pub fn plan(state: &LocalState, limits: &CacheLimits, now: SystemTime) -> Result<CacheGcPlan> {
    // An object goes with its `.siginfo` and `.sig`.
    let mut groups: BTreeMap<String, Vec<LocalObject>> = BTreeMap::new();
    for object in state.objects()? {
        groups.entry(object.name.object().to_owned()).or_default().push(object);
    }
    let used = |group: &[LocalObject]| group.iter().map(|object| object.used).max().unwrap_or(SystemTime::UNIX_EPOCH);
    let mut groups: Vec<Vec<LocalObject>> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(used(group)));
    let mut plan = CacheGcPlan::default();
    for group in groups {
        let size: u64 = group.iter().map(|object| object.size).sum();
        let old = limits.age.is_some_and(|age| now.duration_since(used(&group)).is_ok_and(|unused| unused > age));
        let full = limits.size.is_some_and(|limit| plan.kept_bytes + size > limit);
        if old || full {
            plan.removed.extend(group);
        } else {
            (plan.kept, plan.kept_bytes) = (plan.kept + group.len(), plan.kept_bytes + size);
        }
    }
    Ok(plan)
}

/// Removes what a plan names.
///
/// # Errors
/// A file cannot be removed.
pub fn remove(plan: &CacheGcPlan) -> Result<()> {
    plan.removed.iter().try_for_each(|object| disk::remove_file(&object.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unused_for_longest_goes_first_with_all_that_belongs_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let day = Duration::from_secs(86400);
        for (name, age) in [("a_x.tar.zst", 1), ("a_x.tar.zst.siginfo", 9), ("b_x.tar.zst", 5), ("c_x.tar.zst", 40)] {
            let path = directory.path().join(format!("sstate:{name}"));
            std::fs::write(&path, "0123456789").unwrap();
            std::fs::File::open(&path).unwrap().set_modified(now - day * age).unwrap();
        }
        let state = LocalState::new(directory.path());
        let removed = |limits: CacheLimits| -> Vec<String> {
            plan(&state, &limits, now).unwrap().removed.iter().map(|object| object.name.to_string()).collect()
        };
        assert!(removed(CacheLimits::default()).is_empty());
        assert_eq!(removed(CacheLimits { age: Some(day * 30), size: None }), ["sstate:c_x.tar.zst"]);
        assert_eq!(removed(CacheLimits { age: None, size: Some(25) }), ["sstate:b_x.tar.zst", "sstate:c_x.tar.zst"]);
        let plan = plan(&state, &CacheLimits { age: Some(day * 3), size: None }, now).unwrap();
        assert_eq!((plan.kept, plan.kept_bytes, plan.bytes()), (2, 20, 20));
        remove(&plan).unwrap();
        assert_eq!(state.objects().unwrap().len(), 2);
    }
}

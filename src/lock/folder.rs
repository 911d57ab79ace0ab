//! Layers that are folders of the project, as the closures were found with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Blake3;

/// What the lock has of such a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockedFolder {
    /// One hash over all its metadata: locks of revision 3 and before. It stays while nothing is edited.
    Whole(Blake3),
    /// A hash for each file that decides what is fetched, by its path: two branches that touch different files change
    /// different lines.
    Files(BTreeMap<String, Blake3>),
}

/// Such a layer as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderState {
    /// The hash over all its metadata, as [`LockedFolder::Whole`] has it.
    pub whole: Blake3,
    /// A hash over what decides what is fetched, for each file that BitBake parses.
    pub files: BTreeMap<String, Blake3>,
}

impl LockedFolder {
    /// How the layer was edited since, for people: a few of its files. `None` if it was not.
    pub fn edited(&self, now: &FolderState) -> Option<String> {
        match self {
            LockedFolder::Whole(whole) => (*whole != now.whole).then(String::new),
            LockedFolder::Files(files) => {
                let names: BTreeSet<&String> = files.keys().chain(now.files.keys()).collect();
                let names = names.into_iter().filter(|name| files.get(*name) != now.files.get(*name));
                match names.map(String::as_str).collect::<Vec<_>>().as_slice() {
                    [] => None,
                    [one] => Some((*one).to_owned()),
                    [one, rest @ ..] => Some(format!("{one} and {} more", rest.len())),
                }
            }
        }
    }
}

impl FolderState {
    /// What a lock that is made now has: what it had, while nothing is edited.
    pub fn locked(&self, before: Option<&LockedFolder>) -> LockedFolder {
        match before {
            Some(LockedFolder::Whole(whole)) if *whole == self.whole => LockedFolder::Whole(*whole),
            _ => LockedFolder::Files(self.files.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(whole: u8, files: &[(&str, u8)]) -> FolderState {
        let files = files.iter().map(|(name, digit)| ((*name).to_owned(), [*digit; 32].into())).collect();
        FolderState { whole: [whole; 32].into(), files }
    }

    #[test]
    fn an_old_lock_keeps_its_one_hash_until_something_is_edited() {
        let old = LockedFolder::Whole([1; 32].into());
        let same = state(1, &[("a.bb", 1)]);
        assert_eq!((old.edited(&same), same.locked(Some(&old))), (None, old.clone()));
        let other = state(2, &[("a.bb", 2), ("b.bb", 2)]);
        assert_eq!(old.edited(&other), Some(String::new()));
        let new = other.locked(Some(&old));
        assert_eq!(new, LockedFolder::Files(other.files.clone()));
        // What decides nothing changes the whole, and no file.
        assert_eq!(new.edited(&state(3, &[("a.bb", 2), ("b.bb", 2)])), None);
        assert_eq!(new.edited(&state(3, &[("a.bb", 2), ("c.bb", 2)])).unwrap(), "b.bb and 1 more");
        assert_eq!(new.edited(&state(3, &[("a.bb", 4), ("b.bb", 2)])).unwrap(), "a.bb");
    }
}

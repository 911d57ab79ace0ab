//! todo
use super::*;
pub(super) fn sides(_text: &str) -> Option<(String, String)> {
    todo!()
}
pub(super) fn union(_ours: &Lock, _theirs: &Lock) -> Lock {
    todo!()
}

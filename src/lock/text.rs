//! todo
use super::*;
pub(super) fn parse(_text: &str, _path: &Path) -> Result<Lock> {
    todo!()
}
impl std::fmt::Display for Lock {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

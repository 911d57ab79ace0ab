//! Placeholder of the manifest's parser.
use super::*;

pub(super) fn read(_path: &Path) -> Result<Manifest> {
    todo!()
}
pub(super) fn find(_from: &Path) -> Result<PathBuf> {
    todo!()
}
pub(super) fn board<'a>(_manifest: &'a Manifest, _name: &str) -> Result<&'a Board> {
    todo!()
}
pub(super) fn select(_manifest: &Manifest, _board: &str, _set: &[String]) -> Result<Selection> {
    todo!()
}
pub(super) fn read_site(_path: &Path) -> Result<SiteConfig> {
    todo!()
}

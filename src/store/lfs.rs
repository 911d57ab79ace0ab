//! Git LFS: which files of a commit's tree are pointers, and what they lead to.
//!
//! A file counts as git-lfs would write it out: its bytes are a pointer, and the attributes of the tree give it `filter=lfs`.
//! git itself reads the attributes, so that patterns, macros and files in subdirectories mean what they mean to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use git2::{ObjectType, Odb, Oid};

use super::Store;
use super::checkout::check_name;
use super::objects::read_small;
use super::tree::{TreeEntry, TreeNode, entries_of};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{broken_object, local_git, run};
use crate::source::{CommitId, LfsPointer, POINTER_LIMIT};

/// The file in which a tree says which of its files are in LFS.
const ATTRIBUTES: &[u8] = b".gitattributes";

/// The file at a tree's top in which it names its LFS server.
const CONFIG: &[u8] = b".lfsconfig";

/// What a commit has in Git LFS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LfsContents {
    /// The LFS server that the commit itself names (`lfs.url` in `.lfsconfig`).
    pub server: Option<String>,
    /// Pointers by path.
    pub pointers: BTreeMap<String, LfsPointer>,
}

impl Store {
    /// Reads what a commit of the store has in Git LFS.
    ///
    /// # Errors
    /// The commit is not in the store (kind `Missing`), or an object of it is broken (kind `Mismatch`); a pointer has a path that
    /// is not UTF-8, or wants programs of the user's to be run (kind `Input`).
    pub fn lfs_contents(&self, commit: &CommitId) -> Result<LfsContents> {
        let opened = self.open_commit(commit)?;
        let entries = entries_of(&opened, commit)?;
        let odb = opened.odb().map_err(broken_object)?;
        let mut files = LfsFiles::default();
        files.collect_attributes(&odb, &entries, b"")?;
        // Most repositories end here: no file is looked at.
        if !files.attributes.values().any(|text| text.windows(3).any(|part| part == b"lfs")) {
            return Ok(LfsContents::default());
        }
        files.collect_pointers(&odb, &entries, b"")?;
        if files.pointers.is_empty() {
            return Ok(LfsContents::default());
        }
        let pointers = files.tracked(self.workplace()?.path())?;
        let config = entries.iter().find(|entry| entry.name == CONFIG);
        let server = match config.map(|entry| &entry.node) {
            Some(TreeNode::File { blob, .. }) => {
                let text = read_small(&odb, *blob, Path::new(".lfsconfig"), bounds::GITMODULES)?;
                server_of(&text, self.workplace()?.path())?
            }
            _ => None,
        };
        Ok(LfsContents { server, pointers })
    }
}

/// Files of a tree that matter here, by path.
#[derive(Default)]
struct LfsFiles {
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pointers: BTreeMap<Vec<u8>, LfsPointer>,
}

impl LfsFiles {
    fn collect_attributes(&mut self, odb: &Odb<'_>, entries: &[TreeEntry], within: &[u8]) -> Result<()> {
        for entry in entries {
            let path = [within, &entry.name].concat();
            match &entry.node {
                TreeNode::Directory(entries) => self.collect_attributes(odb, entries, &[&path[..], b"/"].concat())?,
                TreeNode::File { blob, .. } if entry.name == ATTRIBUTES => {
                    let text = read_small(odb, *blob, Path::new(".gitattributes"), bounds::GITMODULES)?;
                    self.attributes.insert(path, text);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn collect_pointers(&mut self, odb: &Odb<'_>, entries: &[TreeEntry], within: &[u8]) -> Result<()> {
        for entry in entries {
            let path = [within, &entry.name].concat();
            match &entry.node {
                TreeNode::Directory(entries) => self.collect_pointers(odb, entries, &[&path[..], b"/"].concat())?,
                TreeNode::File { blob, .. } => {
                    self.pointers.extend(pointer(odb, *blob)?.map(|pointer| (path, pointer)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Those pointers that have `filter=lfs`. The attributes are written into a work tree without any other file.
    fn tracked(self, scratch: &Path) -> Result<BTreeMap<String, LfsPointer>> {
        let mut options = git2::RepositoryInitOptions::new();
        let made = git2::Repository::init_opts(scratch, options.external_template(false));
        made.map_err(|error| Error::new(Kind::Io, "could not make a repository in the store").because(error))?;
        for (path, text) in &self.attributes {
            path.split(|byte| *byte == b'/').try_for_each(check_name)?;
            let path = scratch.join(OsStr::from_bytes(path));
            disk::create_dir_all(path.parent().unwrap_or(scratch))?;
            disk::replace(&path, text)?;
        }
        let asked = |error| Error::io("write in", scratch, error);
        let mut paths = tempfile::tempfile_in(scratch).map_err(asked)?;
        for path in self.pointers.keys() {
            paths.write_all(&[path.as_slice(), b"\0"].concat()).map_err(asked)?;
        }
        paths.rewind().map_err(asked)?;
        let mut command = local_git(&scratch.join(".git"));
        command.arg("--work-tree").arg(scratch).args(["check-attr", "-z", "--stdin", "filter"]);
        let said = run(command.current_dir(scratch).stdin(paths), Kind::Mismatch)?;
        // Path, attribute and value, each ended by a NUL.
        let fields: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
        let tracked = fields.chunks_exact(3).filter(|fields| fields[2] == b"lfs").map(|fields| fields[0]);
        tracked.filter_map(|path| Some((path, *self.pointers.get(path)?))).map(|(path, p)| accept(path, p)).collect()
    }
}

fn accept(path: &[u8], pointer: LfsPointer) -> Result<(String, LfsPointer)> {
    let refuse = |why: &str| {
        let error = Error::input(format!("`{}` is in Git LFS, and {why}", path.escape_ascii()));
        Err(error.help("leave LFS out: `;lfs=0` in the recipe's SRC_URI, `lfs = false` in the manifest"))
    };
    match std::str::from_utf8(path) {
        Err(_) => refuse("its path is not UTF-8"),
        Ok(_) if pointer.extended => refuse("wants extensions of git-lfs, which kbuild does not have"),
        Ok(path) => Ok((path.to_owned(), pointer)),
    }
}

fn pointer(odb: &Odb<'_>, blob: Oid) -> Result<Option<LfsPointer>> {
    let (size, kind) = odb.read_header(blob).map_err(broken_object)?;
    if size >= POINTER_LIMIT || kind != ObjectType::Blob {
        return Ok(None);
    }
    Ok(LfsPointer::parse(odb.read(blob).map_err(broken_object)?.data()))
}

/// The server that a `.lfsconfig` names. git itself reads it, so that all its quoting is understood; `[include]` is not
/// followed, or a repository could make us read any file.
fn server_of(text: &[u8], scratch: &Path) -> Result<Option<String>> {
    let file = scratch.join("lfsconfig");
    disk::replace(&file, text)?;
    let mut command = local_git(scratch);
    command.args(["config", "--no-includes", "--null", "--list", "--file"]).arg(&file);
    let listed = run(&mut command, Kind::Input).map_err(|error| error.wrap("a .lfsconfig cannot be read"))?;
    let listed = String::from_utf8_lossy(&listed);
    let values: BTreeMap<&str, &str> = listed.split('\0').filter_map(|entry| entry.split_once('\n')).collect();
    Ok(["lfs.url", "remote.origin.lfsurl"].iter().find_map(|key| values.get(key)).map(|url| (*url).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{Item, Tree, Upstream, file, link, tree};
    use crate::store::tests::temporary;

    fn pointer_to(digit: char) -> String {
        let oid = digit.to_string().repeat(64);
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 7\n")
    }

    fn contents(content: &Tree) -> Result<LfsContents> {
        let (_directory, store) = temporary();
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], content);
        let hash = crate::store::tree::of_commit(&upstream.objects(), &commit).unwrap();
        store.add_git(upstream.path(), &commit, hash).unwrap();
        store.lfs_contents(&commit)
    }

    #[test]
    fn what_git_lfs_would_write_out_is_found_and_nothing_else() {
        let found = contents(&tree([
            (".gitattributes", file("[attr]large filter=lfs diff=lfs -text\n*.bin large\n*.raw filter=lfs\n")),
            (".lfsconfig", file("[lfs]\n\turl = https://lfs.corp/o/r\n")),
            ("a.bin", file(&pointer_to('1'))),
            ("b.raw", file("not a pointer at all")),
            ("c.txt", file(&pointer_to('2'))),
            ("link.bin", link(&pointer_to('3'))),
            (
                "sub",
                Item::Directory(tree([
                    (".gitattributes", file("*.bin -filter\n*.txt filter=lfs\n")),
                    ("d.bin", file(&pointer_to('4'))),
                    ("e.txt", Item::File { bytes: pointer_to('5').into_bytes(), executable: true }),
                ])),
            ),
        ]));
        let found = found.unwrap();
        assert_eq!(found.server.as_deref(), Some("https://lfs.corp/o/r"));
        assert_eq!(found.pointers.keys().collect::<Vec<_>>(), ["a.bin", "sub/e.txt"]);
        assert_eq!(found.pointers["sub/e.txt"].oid, [0x55; 32].into());
    }

    #[test]
    fn a_tree_without_attributes_has_nothing_in_lfs() {
        for attributes in [("README", ""), (".gitattributes", "*.txt text\n")] {
            let found = contents(&tree([(attributes.0, file(attributes.1)), ("a.bin", file(&pointer_to('1')))]));
            assert_eq!(found.unwrap(), LfsContents::default());
        }
    }

    #[test]
    fn what_kbuild_cannot_write_out_is_an_error_with_a_way_around() {
        let extended = pointer_to('1').replace("oid", &format!("ext-0-x sha256:{}\noid", "2".repeat(64)));
        let attributes = || (".gitattributes".as_bytes().to_vec(), file("* filter=lfs\n"));
        for (name, text) in [(b"a".to_vec(), extended), (vec![0xff], pointer_to('1'))] {
            let error = contents(&[attributes(), (name, file(&text))].into()).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.hint().unwrap().contains("lfs=0"), "{error}");
        }
    }
}

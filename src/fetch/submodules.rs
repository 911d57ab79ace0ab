//! The submodules of a commit: what `.gitmodules` says, and which commits the tree names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use super::Submodule;
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::git::{local_git, run};
use crate::source::{Access, CommitId, SourceUrl};
use crate::store::Store;
use crate::store::tree::{CommitTree, small_blob};

/// Reads the submodules of a commit in the store.
///
/// # Errors
/// An entry with an unacceptable path or URL.
pub(crate) fn of_commit(store: &Store, url: &SourceUrl, commit: &CommitId) -> Result<Vec<Submodule>> {
    let opened = store.open_commit(commit)?;
    let unreadable = |error: Error| error.wrap(format!("could not read commit {commit} of {url}"));
    let tree = CommitTree::read(&opened, commit).map_err(unreadable)?;
    let links = tree.links().map_err(unreadable)?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let text = match tree.file_at_top(b".gitmodules") {
        Some(blob) => small_blob(&opened, blob, Path::new(".gitmodules"), bounds::GITMODULES).map_err(unreadable)?,
        None => Vec::new(),
    };
    let place = store.workplace()?;
    let urls = urls_by_path(&text, place.path())?;
    // A gitlink that `.gitmodules` does not name is nobody's submodule: gitsm passes it over (`process_submodules`), as
    // git does.
    let named = links.into_iter().filter_map(|(path, commit)| {
        let path = String::from_utf8(path).ok()?;
        let said = urls.get(&path)?;
        Some(check_path(&path).and_then(|()| submodule(url, said, path, commit)))
    });
    named.collect()
}

fn submodule(parent: &SourceUrl, said: &str, path: String, commit: CommitId) -> Result<Submodule> {
    let unusable = |error: Error| error.wrap(format!("{parent} names an unusable URL for its submodule `{path}`"));
    let url = parent.join_submodule(said).map_err(unusable)?;
    if url.access() == Access::Disk && parent.access() != Access::Disk {
        let why = "it is a path of this machine, which a repository of a network may not name";
        return Err(unusable(Error::input(format!("`{url}` is not fetched")).because(why)));
    }
    Ok(Submodule { path, url, commit })
}

/// A submodule's path becomes a directory of a checkout: it must stay inside the checkout, and outside of `.git`.
fn check_path(path: &str) -> Result<()> {
    let bad = path.split('/').any(|part| {
        part.is_empty()
            || part == "."
            || part == ".."
            || part.eq_ignore_ascii_case(".git")
            || part.contains(['\\', '\0'])
    });
    if bad { Err(Error::input(format!("a submodule cannot stand at `{}`", path.escape_default()))) } else { Ok(()) }
}

/// The entries of `.gitmodules`: URL by path. git itself reads the file, so that all its quoting is understood;
/// `[include]` is not followed, because a repository could make kbuild read any file with it.
#[expect(clippy::disallowed_methods, reason = "a scratch directory holds it")]
fn urls_by_path(text: &[u8], scratch: &std::path::Path) -> Result<BTreeMap<String, String>> {
    let file = scratch.join("gitmodules");
    std::fs::File::create_new(&file)
        .and_then(|mut file| file.write_all(text))
        .map_err(|error| Error::io("write", &file, error))?;
    let mut command = local_git(scratch);
    command.args(["config", "--no-includes", "--null", "--list", "--file"]).arg(&file);
    let listed = run(&mut command, Kind::Input).map_err(|error| error.wrap("a .gitmodules cannot be read"))?;
    let mut sections: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    let listed = String::from_utf8_lossy(&listed);
    for entry in listed.split('\0') {
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some((name, field)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else { continue };
        let section = sections.entry(name).or_default();
        match field {
            "path" => section.0 = Some(value),
            "url" => section.1 = Some(value),
            _ => {}
        }
    }
    let pairs = sections.into_values().filter_map(|(path, url)| Some((path?, url?)));
    Ok(pairs.map(|(path, url)| (path.trim_end_matches('/').to_owned(), url.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules_are_read_as_git_reads_them_and_includes_are_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let other = scratch.path().join("other");
        std::fs::write(&other, "[submodule \"evil\"]\n path = evil\n url = https://evil/x\n").unwrap();
        let text = format!(
            "[include]\n path = {}\n[submodule \"a.b\"]\n\tpath = \"vendor/a b\"\n\turl = ../a.git ; comment\n\
             [submodule \"c\"]\n\tpath = c/\n\tupdate = !touch /tmp/x\n\turl = https://h/c\n[submodule \"no-url\"]\n path = d\n",
            other.display()
        );
        let urls = urls_by_path(text.as_bytes(), scratch.path()).unwrap();
        let expected =
            [("c", "https://h/c"), ("vendor/a b", "../a.git")].map(|(path, url)| (path.to_owned(), url.to_owned()));
        assert_eq!(urls, BTreeMap::from(expected));
    }

    #[test]
    fn only_a_repository_of_this_machine_names_another_one() {
        let named = |parent: &str, said: &str| {
            submodule(&parent.parse().unwrap(), said, "x".to_owned(), CommitId::from([7; 20]))
        };
        for parent in ["https://h/g/p.git", "ssh://git@h/g/p.git", "git://h/g/p.git"] {
            for said in ["file:///etc", "FILE:///etc", "file://localhost/etc", "/etc", "~/x", "x", "ext::sh -c x"] {
                let error = named(parent, said).unwrap_err();
                assert!(error.to_string().contains("unusable URL for its submodule `x`"), "{error}");
            }
            assert!(named(parent, "../x.git").is_ok() && named(parent, "https://other/x").is_ok());
        }
        for said in ["file:///srv/x", "../x", "https://h/x"] {
            assert!(named("file:///srv/p", said).is_ok(), "{said}");
        }
    }

    #[test]
    fn a_huge_gitmodules_is_refused() {
        use crate::store::fixture::{Item, Upstream, file, tree};
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let of = |text: &str| {
            let upstream = Upstream::new();
            let content = tree([(".gitmodules", file(text)), ("sub", Item::Submodule([7; 20].into()))]);
            let commit = upstream.commit(&[], &content);
            let hash = crate::store::tree::of_commit(&upstream.objects(), &commit).unwrap();
            store.add_git(upstream.path(), &commit, hash).unwrap();
            of_commit(&store, &"https://h/x".parse().unwrap(), &commit)
        };
        let text = "[submodule \"sub\"]\npath = sub\nurl = https://h/y\n";
        assert_eq!(of(text).unwrap().len(), 1);
        let error = of(&(text.to_owned() + &"#".repeat(bounds::GITMODULES as usize))).unwrap_err();
        assert!(error.causes()[0].contains(".gitmodules has "), "{error} {:?}", error.causes());
    }

    #[test]
    fn gitmodules_may_say_anything() {
        use proptest::prelude::*;
        let line = prop_oneof![
            Just("[submodule \"a\"]".to_owned()),
            Just(" path = a/b".to_owned()),
            Just(" url = ../x".to_owned()),
            Just("[include]\n path = /etc/passwd".to_owned()),
            Just("[submodule \"a".to_owned()),
            ".{0,40}",
        ];
        let texts = proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"));
        let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
        let checked = proptest::test_runner::TestRunner::new(config).run(&texts, |text| {
            let scratch = tempfile::tempdir().unwrap();
            let parent: SourceUrl = "https://h/p/q".parse().unwrap();
            for (path, url) in urls_by_path(text.as_bytes(), scratch.path()).unwrap_or_default() {
                let _ = check_path(&path).and_then(|()| submodule(&parent, &url, path, [7; 20].into()));
            }
            Ok(())
        });
        checked.unwrap();
    }

    #[test]
    fn paths_that_leave_the_checkout_are_refused() {
        check_path("vendor/x").unwrap();
        for path in ["../x", "a/../b", "/abs", "a//b", ".git/x", "a/.GIT", "."] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}

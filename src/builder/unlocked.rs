//! Which source a failed build lacked: what recipes fetch whose do_fetch failed, beside what the lock has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::layers::Layers;
use crate::bitbake::report::{Fetch, Recipe};
use crate::error::{Error, Kind};
use crate::files::LOCK;
use crate::lock::{Lock, Locked};
use crate::source::url::redact;
use crate::source::{CommitId, SourceId, SourceUrl, name};

/// What a build was given.
#[derive(Debug, Default)]
pub(super) struct GivenSources {
    /// What BitBake finds in the view.
    given: FetchNames,
    /// What the lock has.
    locked: FetchNames,
    /// Layers that are not as locked, by name, and where they are.
    other_layers: Vec<(String, PathBuf)>,
}

/// Sources, by the names that recipes have for them.
#[derive(Debug, Default)]
struct FetchNames {
    /// Names of files, each alone and with its sha256.
    files: BTreeSet<(String, Option<String>)>,
    /// Keys of commits.
    gits: BTreeSet<String>,
}

impl GivenSources {
    pub(super) fn of(lock: &Lock, sources: &[SourceId], layers: &Layers) -> GivenSources {
        GivenSources {
            given: FetchNames::of(sources.iter().filter_map(|id| lock.get(id).ok())),
            locked: FetchNames::of(lock.all_sources().iter().filter_map(|id| lock.get(id).ok())),
            other_layers: layers.not_as_locked(),
        }
    }

    /// What of these recipes the build was not given, each with the command that locks it.
    pub(super) fn complaints(&self, recipes: &[Recipe]) -> Vec<Error> {
        let unlocked = recipes.iter().flat_map(|recipe| {
            recipe.fetches.iter().filter(|fetch| !self.given.has(fetch)).map(move |fetch| self.complaint(recipe, fetch))
        });
        unlocked.collect()
    }

    fn complaint(&self, recipe: &Recipe, fetch: &Fetch) -> Error {
        let place = fetch.place.as_ref().map_or_else(|| recipe.file.clone(), ToString::to_string);
        let what = format!("the recipe `{}` ({place}) fetches {}", recipe.name, redact(&fetch.written));
        if self.locked.has(fetch) {
            let message = format!("{what}, which {LOCK} has and the store has not");
            return Error::new(Kind::Engine, message).help("run `kbuild fetch`");
        }
        let message = format!("{what}, which {LOCK} does not have");
        let reads_of =
            |directory: &PathBuf| recipe.read.iter().any(|file| std::path::Path::new(file).starts_with(directory));
        let help = match self.other_layers.iter().find(|(_, directory)| reads_of(directory)) {
            Some((layer, _)) => format!(
                "the layer `{layer}` is not the locked one: bring the change into its repository and run `kbuild update \
                 {layer}`"
            ),
            None => {
                let name = recipe.name.rsplit(':').next().unwrap_or(&recipe.name);
                format!("run `kbuild lock --recipe {name}`")
            }
        };
        Error::new(Kind::Engine, message).help(help)
    }
}

impl FetchNames {
    fn of<'a>(sources: impl Iterator<Item = Locked<'a>>) -> FetchNames {
        let mut names = FetchNames::default();
        for locked in sources {
            match locked {
                Locked::Git(key, _) => drop(names.gits.insert(key.to_owned())),
                Locked::File(_, file) => {
                    let name = locked.name().rsplit('/').next().unwrap_or_default().to_owned();
                    names.files.insert((name.clone(), None));
                    names.files.insert((name, Some(file.sha256.to_string())));
                }
            }
        }
        names
    }

    fn has(&self, fetch: &Fetch) -> bool {
        if let Some(git) = &fetch.git {
            let commit: Option<CommitId> = git.commit.as_ref().and_then(|commit| commit.parse().ok());
            let url: Option<SourceUrl> = git.url.parse().ok();
            return url.zip(commit).is_some_and(|(url, commit)| self.gits.contains(&name::git_key(&url, &commit)));
        }
        let Some(file) = fetch.file.clone() else { return true };
        self.files.contains(&(file, fetch.sums.get("sha256").cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitbake::report::GitFetch;

    #[test]
    fn what_was_not_given_is_said_with_its_recipe_and_the_command() {
        let names = |sha256: &str| FetchNames {
            files: [("a.tar.gz".to_owned(), None), ("a.tar.gz".to_owned(), Some(sha256.to_owned()))].into(),
            gits: BTreeSet::new(),
        };
        let given = GivenSources {
            given: names("1"),
            locked: names("3"),
            other_layers: vec![("meta-x".to_owned(), PathBuf::from("/x"))],
        };
        let file = |name: &str, sha256: Option<&str>| Fetch {
            written: format!("https://h/{name}"),
            file: Some(name.to_owned()),
            sums: sha256.map(|hash| ("sha256".to_owned(), hash.to_owned())).into_iter().collect(),
            ..Fetch::default()
        };
        let git = GitFetch { url: "https://h/r".to_owned(), commit: Some("a".repeat(40)), ..GitFetch::default() };
        let git = Fetch { written: "git://h/r".to_owned(), git: Some(git), ..Fetch::default() };
        let fetches = vec![
            file("a.tar.gz", None),
            file("a.tar.gz", Some("1")),
            file("a.tar.gz", Some("2")),
            git,
            file("a.tar.gz", Some("3")),
        ];
        let mut recipe = Recipe {
            name: "mc:x:hello".to_owned(),
            file: "hello.bb".to_owned(),
            fetches,
            read: vec!["/l/hello.bb".to_owned()],
            ..Recipe::default()
        };
        let said = given.complaints(std::slice::from_ref(&recipe));
        assert_eq!(said.len(), 3);
        assert!(said[2].to_string().ends_with("which kbuild.lock has and the store has not"), "{}", said[2]);
        assert_eq!(said[2].hint(), Some("run `kbuild fetch`"));
        assert!(
            said[0].to_string().starts_with("the recipe `mc:x:hello` (hello.bb) fetches https://h/a.tar.gz, which")
        );
        assert_eq!(said[0].hint(), Some("run `kbuild lock --recipe hello`"));
        recipe.read.push("/x/hello.bbappend".to_owned());
        assert!(given.complaints(&[recipe])[1].hint().unwrap().contains("kbuild update meta-x"));
    }
}

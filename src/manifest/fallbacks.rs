//! The fallback lists shipped with kbuild: rules for places that may have a source when its upstream does not.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::MirrorRule;
use crate::error::{Error, Result};

/// The lists of the folder `mirrors/`, by file name, in the order in which they are asked.
const SHIPPED: &[(&str, &str)] = &[
    ("10-github-archives.toml", include_str!("../../mirrors/10-github-archives.toml")),
    ("10-gnu.toml", include_str!("../../mirrors/10-gnu.toml")),
    ("10-kernel.org.toml", include_str!("../../mirrors/10-kernel.org.toml")),
    ("10-sourceforge.toml", include_str!("../../mirrors/10-sourceforge.toml")),
    ("10-sourceware.toml", include_str!("../../mirrors/10-sourceware.toml")),
    ("50-yocto-project.toml", include_str!("../../mirrors/50-yocto-project.toml")),
    ("60-buildroot.toml", include_str!("../../mirrors/60-buildroot.toml")),
    ("60-fedora.toml", include_str!("../../mirrors/60-fedora.toml")),
    ("60-freebsd.toml", include_str!("../../mirrors/60-freebsd.toml")),
    ("60-gentoo.toml", include_str!("../../mirrors/60-gentoo.toml")),
    ("60-openwrt.toml", include_str!("../../mirrors/60-openwrt.toml")),
    ("70-guix.toml", include_str!("../../mirrors/70-guix.toml")),
    ("70-nix.toml", include_str!("../../mirrors/70-nix.toml")),
    ("90-software-heritage.toml", include_str!("../../mirrors/90-software-heritage.toml")),
];

/// Which of the fallback lists are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FallbackChoice {
    /// All of them.
    #[default]
    All,
    /// Those with these names.
    Only(BTreeSet<String>),
}

impl FallbackChoice {
    /// No list at all.
    pub fn none() -> FallbackChoice {
        FallbackChoice::Only(BTreeSet::new())
    }

    /// Whether the list of this name is asked.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            FallbackChoice::All => true,
            FallbackChoice::Only(names) => names.contains(name),
        }
    }

    /// The lists that both choices allow.
    #[must_use]
    pub fn and(self, other: FallbackChoice) -> FallbackChoice {
        match (self, other) {
            (FallbackChoice::All, choice) | (choice, FallbackChoice::All) => choice,
            (FallbackChoice::Only(one), FallbackChoice::Only(other)) => FallbackChoice::Only(&one & &other),
        }
    }
}

/// A fallback list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackList {
    /// What people call the place.
    pub name: String,
    /// Where the rules come from.
    pub origin: String,
    /// Where files may be.
    #[serde(default, rename = "rule")]
    pub files: Vec<MirrorRule>,
    /// Vaults of Software Heritage that make a repository of a commit on request.
    #[serde(default, rename = "vault")]
    pub vaults: Vec<MirrorRule>,
}

impl FallbackList {
    /// The names by which `[mirrors] builtin` chooses lists: the file's, without number and ending.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(file, _)| short_name(file))
    }

    /// The lists of a choice, in the order in which they are asked.
    ///
    /// # Errors
    /// A list that is not in order; a test keeps that from being released.
    pub fn of(choice: &FallbackChoice) -> Result<Vec<FallbackList>> {
        let chosen = SHIPPED.iter().filter(|(file, _)| choice.contains(short_name(file)));
        chosen.map(|(file, text)| read(file, text)).collect()
    }
}

fn short_name(file: &'static str) -> &'static str {
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    stem.split_once('-').map_or(stem, |(_, name)| name)
}

fn read(file: &str, text: &str) -> Result<FallbackList> {
    toml_edit::de::from_str(text)
        .map_err(|error| Error::input(format!("mirrors/{file} cannot be parsed")).because(error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_list_in_the_folder_is_shipped_and_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mirrors");
        let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let files: BTreeSet<String> =
            files.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".toml")).collect();
        let shipped: Vec<String> = SHIPPED.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert!(shipped.is_sorted(), "{shipped:?}");
        assert_eq!(files, shipped.into_iter().collect(), "SHIPPED in src/manifest/fallbacks.rs and mirrors/ differ");
        for list in FallbackList::of(&FallbackChoice::All).unwrap() {
            assert!(list.origin.contains("://"), "{} does not say where it comes from", list.name);
        }
    }

    #[test]
    fn only_what_all_allow_is_asked() {
        let only = |names: &[&str]| FallbackChoice::Only(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(FallbackChoice::All.and(only(&["nix"])), only(&["nix"]));
        assert_eq!(only(&["nix", "guix"]).and(only(&["guix", "gnu"])), only(&["guix"]));
        assert_eq!(FallbackChoice::none().and(FallbackChoice::All), FallbackChoice::none());
        let names = |choice: &FallbackChoice| FallbackList::of(choice).unwrap().len();
        assert_eq!((names(&only(&["guix", "nix"])), names(&FallbackChoice::none())), (2, 0));
        assert_eq!(FallbackList::names().last(), Some("software-heritage"));
    }
}

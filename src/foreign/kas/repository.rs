//! A repository of a kas file, with defaults and overrides in it (`kas.repos.Repo.factory`).

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::foreign::document::{Node, NodeValue};
use crate::foreign::found::FilePlace;
use crate::foreign::repositories;

/// Values that switch a layer off: `disabled`, and older ones (`_create_layers_from_dict`).
const DISABLED: [&str; 8] = ["disabled", "excluded", "n", "no", "0", "false", "False", "No"];

/// A repository.
#[derive(Debug, Clone)]
pub(super) struct KasRepository {
    /// As other parts of the files call it.
    pub(super) key: String,
    /// The directory that kas clones it to.
    pub(super) name: String,
    pub(super) place: FilePlace,
    pub(super) kind: String,
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) refspec: Option<String>,
    /// Layers that are switched on, with their priorities.
    pub(super) layers: Vec<(String, i64)>,
    pub(super) patches: Vec<KasPatch>,
    /// Where it says that its commits are signed.
    pub(super) signed: Option<FilePlace>,
}

/// A patch of a repository, in the order of its key.
#[derive(Debug, Clone)]
pub(super) struct KasPatch {
    pub(super) id: String,
    pub(super) place: FilePlace,
    /// The key of the repository that has it.
    pub(super) repository: Option<String>,
    /// Its path there: a file, or a directory with a series of quilt's.
    pub(super) path: Option<String>,
}

/// All repositories of a merged file.
pub(super) fn all(config: &Node) -> Result<IndexMap<String, KasRepository>> {
    let empty = Node::empty(FilePlace::default());
    let of = |section: &str| config.get(section).and_then(|section| section.get("repos")).unwrap_or(&empty).clone();
    let (defaults, overrides) = (of("defaults"), of("overrides"));
    let mut found = IndexMap::new();
    for (key, node) in config.get("repos").into_iter().flat_map(Node::entries) {
        found.insert(key.clone(), one(key, node, &defaults, overrides.get(key).unwrap_or(&empty))?);
    }
    Ok(found)
}

fn one(key: &str, node: &Node, defaults: &Node, overrides: &Node) -> Result<KasRepository> {
    // A key that is there counts, even with null; `dict.get` of Python.
    let first = |name: &str, nodes: [&Node; 2]| {
        let value = nodes.into_iter().find_map(|node| node.get(name));
        value.and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let own = |name: &str| first(name, [node, node]);
    let (tag, refspec) = (first("tag", [node, defaults]), first("refspec", [node, defaults]));
    let (mut url, mut commit, mut branch) = (own("url"), own("commit"), first("branch", [node, defaults]));
    let mut refspec = refspec;
    if refspec.is_none() {
        commit = first("commit", [overrides, node]);
        url = first("url", [overrides, node]);
        if overrides.get("branch").is_some() {
            branch = first("branch", [overrides, node]);
        }
    } else if let Some(pinned) = first("commit", [overrides, overrides]) {
        refspec = Some(pinned);
    }
    if url.is_some() && commit.is_none() && tag.is_none() && branch.is_none() && refspec.is_none() {
        let fault = Error::input(format!("repository `{key}` does not say which commit"));
        return Err(fault.because(node.place.to_string()).help("kas refuses it too: add `branch`, `tag` or `commit`"));
    }
    let signed = node
        .get("signed")
        .filter(|signed| signed.text().is_some_and(|text| ["true", "True", "yes", "on"].contains(&text)));
    Ok(KasRepository {
        key: key.to_owned(),
        name: own("name").unwrap_or_else(|| key.to_owned()),
        place: node.place.clone(),
        kind: own("type").unwrap_or_else(|| "git".to_owned()),
        url,
        path: own("path"),
        commit,
        tag,
        branch,
        refspec,
        layers: layers(node),
        patches: patches(node, defaults),
        signed: signed.map(|signed| signed.place.clone()),
    })
}

fn layers(node: &Node) -> Vec<(String, i64)> {
    let Some(layers) = node.get("layers").filter(|layers| !layers.is_null()) else { return vec![(String::new(), 0)] };
    let switched_on = layers.entries().filter_map(|(name, value)| match &value.value {
        NodeValue::Scalar(text) if DISABLED.contains(&text.text.as_str()) => None,
        NodeValue::Map(_) => {
            Some((name.clone(), value.text_of("prio").and_then(|prio| prio.parse().ok()).unwrap_or(0)))
        }
        _ => Some((name.clone(), 0)),
    });
    let mut layers: Vec<(String, i64)> = switched_on.collect();
    layers.sort_by(|(name, priority), (other, others)| (-priority, name).cmp(&(-others, other)));
    layers
}

/// The patches that are switched on, in the order in which kas applies them (`kas.config.Config.get_repo_dict`: a default
/// repository; `kas.repos`: by their keys).
fn patches(node: &Node, defaults: &Node) -> Vec<KasPatch> {
    let default = defaults.get("patches").and_then(|patches| patches.text_of("repo"));
    let all = node.get("patches").into_iter().flat_map(Node::entries).filter(|(_, patch)| !patch.is_null());
    let of = |(id, patch): (&String, &Node)| KasPatch {
        id: id.clone(),
        place: patch.place.clone(),
        repository: patch.text_of("repo").or(default).map(str::to_owned),
        path: patch.text_of("path").map(str::to_owned),
    };
    let mut found: Vec<KasPatch> = all.map(of).collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

impl KasRepository {
    /// The layers as `paths` of a manifest has them; empty where it is the top alone.
    pub(super) fn paths(&self) -> Vec<String> {
        let path = |name: &String| {
            let name = name.trim_end_matches('/');
            if name.is_empty() { ".".to_owned() } else { repositories::normal(Path::new(name)).display().to_string() }
        };
        let paths: Vec<String> = self
            .layers
            .iter()
            .map(|(name, _)| path(name))
            .map(|path| if path.is_empty() { ".".to_owned() } else { path })
            .collect();
        if paths == ["."] { Vec::new() } else { paths }
    }

    pub(super) fn priority(&self) -> i64 {
        self.layers.iter().map(|(_, priority)| *priority).max().unwrap_or(0)
    }

    /// Where it is, or where kas would clone it to.
    pub(super) fn directory(&self, root: &Path, work_directory: &Path) -> PathBuf {
        match (&self.path, &self.url) {
            (Some(path), _) => repositories::normal(&work_directory.join(path)),
            (None, Some(_)) => work_directory.join(&self.name),
            (None, None) => root.to_owned(),
        }
    }
}

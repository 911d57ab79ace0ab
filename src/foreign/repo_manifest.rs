//! Reads a manifest of repo's: which repositories, and at which commits.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use roxmltree::{Document, Node, ParsingOptions};
use url::Url;

use super::found::{FilePlace, FoundLayer, FoundOrigin, FoundProject, Notes};
use super::repositories::{clean_url, engine_of, last_part, name_for, relative};
use super::{ForeignRequest, pinned, work_tree};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};

/// How deep files may include files.
const DEPTH: usize = 20;

/// How many layers of a checkout are looked for.
const LAYERS: usize = 200;

/// Elements that only place files beside the repositories, or say how repo works.
const LISTED: [&str; 3] = ["copyfile", "linkfile", "annotation"];

/// A remote: `fetch`, a prefix of URLs, and `revision`.
#[derive(Debug, Clone, Default)]
struct Remote {
    fetch: String,
    revision: Option<String>,
}

#[derive(Debug, Clone)]
struct Project {
    name: String,
    path: String,
    remote: Option<String>,
    revision: Option<String>,
    upstream: Option<String>,
    place: FilePlace,
}

#[derive(Default)]
struct Reader {
    remotes: IndexMap<String, Remote>,
    default: Remote,
    default_remote: Option<String>,
    projects: Vec<Project>,
    notes: Notes,
}

/// Reads a manifest and what it includes.
///
/// # Errors
/// A file is missing, or is no XML.
pub(super) fn read(file: &Path, request: &ForeignRequest) -> Result<FoundProject> {
    let file = std::fs::canonicalize(file).map_err(|error| Error::io("find", file, error))?;
    let mut reader = Reader::default();
    reader.read(&file, 0)?;
    let place = FilePlace::of_file(&file);
    let mut project = FoundProject { from: vec![place.file.clone()], ..FoundProject::default() };
    let directory = file.parent().unwrap_or(Path::new("/"));
    let origin = work_tree::ask(directory, &["config", "--get", "remote.origin.url"]);
    let top = client_top(&file);
    for wanted in reader.projects.clone() {
        if let Some(layer) = reader.layer(&wanted, origin.as_deref(), top.as_deref(), request) {
            project.layers.insert(name_for(last_part(&wanted.name)), layer);
        }
    }
    project.engine = engine_of(&project.layers);
    project.notes = reader.notes;
    let why = "a manifest of repo's does not say it: `--from BUILD` reads a build directory";
    project.notes.left_out(&place, "boards: layers that are used, machine, targets", why);
    Ok(project)
}

/// The top of repo's checkout, for a manifest in its `.repo`.
fn client_top(file: &Path) -> Option<PathBuf> {
    let inside = file.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == ".repo"))?;
    inside.parent().map(Path::to_owned)
}

impl Reader {
    fn read(&mut self, file: &Path, depth: usize) -> Result<()> {
        let text = disk::read_text(file, "a manifest of repo's", bounds::MANIFEST)?;
        let place = FilePlace::of_file(file);
        let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&text, options)
            .map_err(|error| Error::input(format!("{} is not valid XML", place.file)).because(error.to_string()))?;
        let root = document.root_element();
        if root.tag_name().name() != "manifest" || depth > DEPTH {
            return Err(Error::input(format!("{} is no manifest of repo's", place.file))
                .help("its outermost element is `<manifest>`"));
        }
        for element in root.children().filter(Node::is_element) {
            let line = usize::try_from(document.text_pos_at(element.range().start).row).unwrap_or_default();
            self.take(element, &place.at(line), file, depth)?;
        }
        Ok(())
    }

    fn take(&mut self, element: Node<'_, '_>, place: &FilePlace, file: &Path, depth: usize) -> Result<()> {
        let text = |name: &str| element.attribute(name).map(str::to_owned);
        let name = text("name").unwrap_or_default();
        match element.tag_name().name() {
            "remote" => {
                let remote = Remote { fetch: text("fetch").unwrap_or_default(), revision: text("revision") };
                self.remotes.insert(name, remote);
            }
            "default" => {
                self.default = Remote { fetch: String::new(), revision: text("revision") };
                self.default_remote = text("remote");
            }
            "include" => {
                // repo looks in the top directory of the manifest's repository.
                let directory = file.parent().unwrap_or(Path::new("/"));
                let beside = directory.join(&name);
                let there = if beside.is_file() { beside } else { directory.join("manifests").join(&name) };
                self.read(&there, depth + 1)?;
            }
            "project" => self.take_project(element, name, place),
            "remove-project" => self.projects.retain(|project| project.name != name),
            "extend-project" => {
                for project in self.projects.iter_mut().filter(|project| project.name == name) {
                    project.revision = text("revision").or(project.revision.take());
                    project.remote = text("remote").or(project.remote.take());
                }
            }
            "notice" | "manifest-server" | "repo-hooks" | "contactinfo" => {}
            other => self.notes.left_out(place, format!("<{other}>"), "the manifest has nothing like it"),
        }
        Ok(())
    }

    fn take_project(&mut self, element: Node<'_, '_>, name: String, place: &FilePlace) {
        let text = |name: &str| element.attribute(name).map(str::to_owned);
        for inner in element.children().filter(|inner| LISTED.contains(&inner.tag_name().name())) {
            let line = usize::try_from(inner.document().text_pos_at(inner.range().start).row).unwrap_or_default();
            let what = format!("<{}> {}", inner.tag_name().name(), inner.attribute("dest").unwrap_or_default());
            self.notes.left_out(&place.at(line), what.trim_end(), "kbuild places no files beside layers");
        }
        let path = text("path").unwrap_or_else(|| name.clone());
        let (remote, revision, upstream) = (text("remote"), text("revision"), text("upstream"));
        self.projects.push(Project { name, path, remote, revision, upstream, place: place.clone() });
    }

    fn layer(
        &mut self,
        project: &Project,
        origin: Option<&str>,
        top: Option<&Path>,
        request: &ForeignRequest,
    ) -> Option<FoundLayer> {
        let place = &project.place;
        let remote =
            project.remote.as_ref().or(self.default_remote.as_ref()).and_then(|name| self.remotes.get(name)).cloned();
        let Some(remote) = remote else {
            self.notes.left_out(place, format!("project {}", project.name), "its remote is not declared");
            return None;
        };
        let revision = project.revision.clone().or(remote.revision.clone()).or(self.default.revision.clone());
        let Some(url) = joined(&remote.fetch, &project.name, origin) else {
            let why = "its remote is relative to where the manifest was cloned from, which is not known here";
            self.notes.left_out(place, format!("project {}", project.name), why);
            return None;
        };
        let url = clean_url(&url, &request.work_directory, place, &mut self.notes);
        let Some(revision) = revision else {
            self.notes.left_out(place, format!("project {}", project.name), "nothing says which revision");
            return None;
        };
        let mut found = pinned::sort(&revision, &url, request.offline, place, &mut self.notes);
        let upstream = project.upstream.as_ref().map(|name| name.trim_start_matches("refs/heads/").to_owned());
        found.branch = found.branch.or(upstream.filter(|name| !name.starts_with("refs/") && !pinned::is_commit(name)));
        let paths = top.map_or_else(Vec::new, |top| layers_in(&top.join(&project.path)));
        Some(FoundLayer {
            origin: FoundOrigin::Git { url, branch: found.branch, tag: found.tag, rev: found.rev },
            paths,
            patches: Vec::new(),
        })
    }
}

/// The URL of a project: `fetch` and its name. A relative `fetch` is relative to the URL of the manifest's repository.
fn joined(fetch: &str, name: &str, origin: Option<&str>) -> Option<String> {
    let fetch = fetch.trim_end_matches('/');
    let short = fetch.contains('@') && fetch.contains(':');
    if fetch.contains("://") || short || fetch.starts_with('/') {
        return Some(format!("{fetch}/{name}"));
    }
    let origin = Url::parse(origin?.trim_end_matches('/')).ok()?;
    origin.join(&format!("{fetch}/{name}")).ok().map(String::from)
}

/// The layers in a checkout: directories with conf/layer.conf, three levels deep at most. Empty where the top is the only one.
fn layers_in(directory: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(directory)
        .max_depth(5)
        .sort_by_file_name()
        .into_iter()
        .filter_map(std::result::Result::ok);
    let confs = walk.filter(|entry| entry.path().ends_with("conf/layer.conf"));
    let layers =
        confs.filter_map(|entry| Some(relative(entry.path().parent()?.parent()?, directory).display().to_string()));
    let found: Vec<String> = layers.take(LAYERS).collect();
    if found == ["."] { Vec::new() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_may_be_relative_to_the_manifest() {
        let origin = Some("https://host/team/manifests.git");
        assert_eq!(joined("https://a/b/", "x/y", None).as_deref(), Some("https://a/b/x/y"));
        assert_eq!(joined("..", "x", origin).as_deref(), Some("https://host/x"));
        assert_eq!(joined(".", "x", origin).as_deref(), Some("https://host/team/x"));
        assert_eq!(joined("git@h:a", "x", None).as_deref(), Some("git@h:a/x"));
        assert_eq!(joined("..", "x", None), None);
    }
}

//! BitBake's task graph, as `bitbake -g` writes it (`task-depends.dot`), read by recipe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::bounds;
use crate::error::{Error, Result};

use serde::{Deserialize, Serialize};

/// The file that `bitbake -g` writes into its working directory.
pub const FILE_NAME: &str = "task-depends.dot";

/// No line is longer, in bytes: two names of tasks, or one with the path of a recipe.
const LONGEST_LINE: u64 = 64 << 10;

/// Which recipe needs which others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Reads the text of `task-depends.dot`: a line `"pn.do_task" [...]` for each task, `"a.do_x" -> "b.do_y"` for each
    /// dependency (`bb.cooker.BBCooker.generateDotGraphFiles`). PN may hold dots, and begins with `mc:NAME:` in a multiconfig.
    ///
    /// # Errors
    /// It cannot be read (kind `Io`), or is larger than [`bounds::GRAPH`] and [`bounds::GRAPH_PAIRS`]: kind `Input`.
    pub fn read(path: &Path) -> Result<Graph> {
        let failed = |error| Error::io("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let too_large = |limit: u64, what: &str| {
            Error::input(format!("BitBake's task graph {} is too large", path.display()))
                .because(format!("the limit is {limit} {what}"))
        };
        if file.metadata().map_err(failed)?.len() > bounds::GRAPH {
            return Err(too_large(bounds::GRAPH, "bytes"));
        }
        let (mut graph, mut pairs) = (Graph::default(), 0);
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)? > 0 {
            if line.len() as u64 == LONGEST_LINE {
                return Err(too_large(LONGEST_LINE, "bytes for a line"));
            }
            pairs += u64::from(graph.add(&String::from_utf8_lossy(&line)));
            if pairs > bounds::GRAPH_PAIRS {
                return Err(too_large(bounds::GRAPH_PAIRS, "pairs of recipes"));
            }
            line.clear();
        }
        Ok(graph.whole())
    }

    /// Adds what a line says. Whether it names a pair of recipes that was not known.
    fn add(&mut self, line: &str) -> bool {
        let mut quoted = line.split('"').skip(1).step_by(2);
        let Some(from) = quoted.next().and_then(recipe) else { return false };
        if !self.0.contains_key(from) {
            self.0.insert(from.to_owned(), BTreeSet::new());
        }
        let to = quoted.next().filter(|_| line.contains("\" -> \"")).and_then(recipe).filter(|to| *to != from);
        let (Some(to), Some(needed)) = (to, self.0.get_mut(from)) else { return false };
        !needed.contains(to) && needed.insert(to.to_owned())
    }

    /// With an entry for every recipe that another one needs.
    fn whole(mut self) -> Graph {
        let needed: BTreeSet<String> =
            self.0.values().flatten().filter(|name| !self.0.contains_key(*name)).cloned().collect();
        self.0.extend(needed.into_iter().map(|name| (name, BTreeSet::new())));
        self
    }

    /// Recipes of which none needs another.
    pub fn of_recipes(names: impl IntoIterator<Item = String>) -> Graph {
        Graph(names.into_iter().map(|name| (name, BTreeSet::new())).collect())
    }

    /// As [`Graph::read`], from a text.
    #[cfg(test)]
    pub fn parse(text: &str) -> Graph {
        let mut graph = Graph::default();
        for line in text.lines() {
            graph.add(line);
        }
        graph.whole()
    }

    /// Every recipe, by name.
    pub fn recipes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// These recipes and all that they need.
    pub fn needed_by(&self, recipes: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left: Vec<String> = recipes.into_iter().collect();
        while let Some(recipe) = left.pop() {
            if found.insert(recipe.clone()) {
                left.extend(self.0.get(&recipe).into_iter().flatten().cloned());
            }
        }
        found
    }

    /// For each recipe the recipe that needs it on a shortest path from a target, the first by name where there are
    /// several; `None` for targets. A path follows what recipes themselves name (`asked`) as far as possible, and only
    /// then the task graph, in which a target needs everything directly. Recipes that no target leads to (targets such
    /// as `world` have no name in the graph) begin paths of their own: first those that no recipe needs, then the first
    /// by name.
    pub fn wanted_by(
        &self,
        targets: &BTreeSet<String>,
        asked: &BTreeMap<String, BTreeSet<String>>,
    ) -> BTreeMap<String, Option<String>> {
        let nothing = BTreeSet::new();
        let both =
            |(name, needed): (&String, &BTreeSet<String>)| (name.clone(), needed & asked.get(name).unwrap_or(&nothing));
        let words = Graph(self.0.iter().map(both).collect());
        let mut found = BTreeMap::new();
        let known: Vec<String> = targets.iter().filter(|name| self.0.contains_key(*name)).cloned().collect();
        words.walk(start(known), &mut found);
        // What only tasks say: from whoever is not a target, if there is one, on in recipes' own words.
        loop {
            let beyond = self.beyond(&found, targets);
            if beyond.is_empty() {
                break;
            }
            words.walk(beyond, &mut found);
        }
        let needed: BTreeSet<&String> = self.0.values().flatten().collect();
        let unneeded = self.0.keys().filter(|name| !found.contains_key(*name) && !needed.contains(name));
        self.walk(start(unneeded.cloned()), &mut found);
        for name in self.0.keys() {
            self.walk(start([name.clone()]), &mut found);
        }
        found
    }

    /// The recipes not found yet that a task of a found recipe needs, with that recipe.
    fn beyond(
        &self,
        found: &BTreeMap<String, Option<String>>,
        targets: &BTreeSet<String>,
    ) -> BTreeMap<String, Option<String>> {
        let mut from: Vec<&String> = found.keys().collect();
        from.sort_by_key(|name| targets.contains(*name));
        let mut beyond = BTreeMap::new();
        for name in from {
            for needed in self.0.get(name).into_iter().flatten().filter(|needed| !found.contains_key(*needed)) {
                beyond.entry(needed.clone()).or_insert_with(|| Some(name.clone()));
            }
        }
        beyond
    }

    fn walk(&self, from: BTreeMap<String, Option<String>>, found: &mut BTreeMap<String, Option<String>>) {
        let mut next = from;
        while !next.is_empty() {
            let mut after = BTreeMap::new();
            for (name, why) in next {
                if found.contains_key(&name) {
                    continue;
                }
                for needed in self.0.get(&name).into_iter().flatten() {
                    // In the order of names, so the first stays.
                    after.entry(needed.clone()).or_insert_with(|| Some(name.clone()));
                }
                found.insert(name, why);
            }
            next = after;
        }
    }
}

/// Where paths begin.
fn start(names: impl IntoIterator<Item = String>) -> BTreeMap<String, Option<String>> {
    names.into_iter().map(|name| (name, None)).collect()
}

/// `pn.do_task` without the task.
fn recipe(task: &str) -> Option<&str> {
    task.rfind(".do_").map(|at| &task[..at]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOT: &str = r#"digraph depends {
"image.do_build" [label="image do_build\n:1.0-r0\n/l/image.bb"]
"image.do_build" -> "image.do_rootfs"
"image.do_rootfs" -> "zlib.do_package"
"image.do_rootfs" -> "alpha.do_package"
"zlib.do_package" -> "deep.do_x"
"alpha.do_package" -> "deep.do_x"
"deep.do_x" -> "image.do_rootfs"
"mc:other:a.b.do_fetch" [label="..."]
"island.do_x" -> "islet.do_y"
"ring.do_x" -> "rung.do_x"
"rung.do_x" -> "ring.do_x"
}"#;

    #[test]
    fn who_needs_a_recipe_is_found_on_a_shortest_way() {
        let graph = Graph::parse(DOT);
        let names = ["alpha", "deep", "image", "island", "islet", "mc:other:a.b", "ring", "rung", "zlib"];
        assert_eq!(graph.recipes().collect::<Vec<_>>(), names);
        let wanted = graph.wanted_by(&["image".to_owned(), "virtual/none".to_owned()].into(), &BTreeMap::new());
        let by: Vec<(&str, Option<&str>)> = wanted.iter().map(|(name, by)| (name.as_str(), by.as_deref())).collect();
        assert_eq!(
            by,
            [
                ("alpha", Some("image")),
                ("deep", Some("alpha")),
                ("image", None),
                ("island", None),
                ("islet", Some("island")),
                ("mc:other:a.b", None),
                ("ring", None),
                ("rung", Some("ring")),
                ("zlib", Some("image")),
            ]
        );
    }

    #[test]
    fn what_recipes_say_themselves_comes_before_what_an_image_gathers() {
        let edges =
            ["group", "busybox", "zlib", "quiet"].map(|name| format!("\"image.do_rootfs\" -> \"{name}.do_x\"\n"));
        let more =
            "\"group.do_x\" -> \"busybox.do_x\"\n\"busybox.do_x\" -> \"zlib.do_x\"\n\"zlib.do_x\" -> \"quiet.do_x\"\n";
        let graph = Graph::parse(&(edges.concat() + more));
        let said = [("image", "group"), ("group", "busybox"), ("busybox", "zlib"), ("busybox", "no-task-for-it")];
        let said = said.map(|(from, to)| (from.to_owned(), [to.to_owned()].into()));
        let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        said.into_iter().for_each(|(from, to): (String, BTreeSet<String>)| asked.entry(from).or_default().extend(to));
        let wanted = graph.wanted_by(&["image".to_owned()].into(), &asked);
        let by = |name: &str| wanted[name].as_deref();
        assert_eq!((by("group"), by("busybox"), by("zlib")), (Some("image"), Some("group"), Some("busybox")));
        assert_eq!(by("quiet"), Some("zlib"), "nobody says so, but a task of zlib needs it");
        assert_eq!(wanted.len(), 5);
    }

    #[test]
    fn a_task_graph_has_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, DOT).unwrap();
        assert_eq!(Graph::read(&path).unwrap(), Graph::parse(DOT));
        let file = File::create(&path).unwrap();
        file.set_len(LONGEST_LINE + 1).unwrap();
        assert!(Graph::read(&path).unwrap_err().causes()[0].contains("bytes for a line"));
        file.set_len(bounds::GRAPH + 1).unwrap();
        assert!(Graph::read(&path).unwrap_err().to_string().contains("is too large"));
        assert!(Graph::read(directory.path()).is_err());
    }
}

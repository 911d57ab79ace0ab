//! What a discovery found, kept: after an edit, only recipes that were read from an edited file are asked again.
//!
//! BitBake's parse says what such a recipe fetches now. Where it says the same of all that makes the task graph (what the
//! recipe needs, provides and packages, and its tasks), the graph is the known one, and nothing else changed. Either BitBake
//! parses all that its cache does not have, or only the recipes that an edit concerns, see [`super::readers`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::graph::Graph;
use super::readers::Readers;

/// What of a recipe makes the task graph, or decides which recipe is taken for a name.
const OF_THE_GRAPH: [&str; 9] = ["name", "version", "layer", "file", "provides", "needs", "packages", "wants", "graph"];

/// The files of one discovery, as the class wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What the class says of each recipe of the task graph, by name.
    pub recipes: BTreeMap<String, Value>,
    /// What it says of each configuration.
    pub configurations: Vec<Value>,
    /// BitBake's task graph.
    pub graph: Graph,
    /// What recipes of any layer say of moving refs.
    pub floating: Vec<Value>,
    /// Recipes of any layer that are built from a folder.
    pub external: Vec<Value>,
    /// Whom an edit concerns.
    pub readers: Readers,
}

/// What was said in a run after an edit.
#[derive(Debug, Clone, Default)]
pub struct Reparse {
    /// The files of the recipes that were parsed; `None` where everything was that has to be.
    pub only: Option<Vec<PathBuf>>,
    /// What recipes say that were parsed again.
    pub recipes: Vec<Value>,
    /// As in [`Snapshot`].
    pub floating: Vec<Value>,
    /// As in [`Snapshot`].
    pub external: Vec<Value>,
    /// As in [`Snapshot`].
    pub readers: Readers,
}

impl Snapshot {
    /// The same after an edit. Recipes were parsed again because they were read from one of the `changed` files or use a
    /// changed value.
    ///
    /// # Errors
    /// Why the whole closure has to be looked at: something of the graph may be another one.
    pub fn update(&mut self, reparse: Reparse, changed: &[PathBuf]) -> Result<(), String> {
        self.check_same_graph(&reparse.recipes, changed)?;
        for new in reparse.recipes {
            if let Some(old) = name_of(&new).and_then(|name| self.recipes.get_mut(name)) {
                *old = new;
            }
        }
        match reparse.only {
            None => {
                (self.floating, self.external, self.readers) = (reparse.floating, reparse.external, reparse.readers);
            }
            Some(parsed) => {
                // A recipe that is gone floats no more.
                let stays = |record: &Value| {
                    let path = path_of(record);
                    parsed.iter().chain(changed).all(|parsed| path != Some(parsed))
                };
                for (known, new) in [(&mut self.floating, reparse.floating), (&mut self.external, reparse.external)] {
                    known.retain(stays);
                    known.extend(new);
                }
                self.readers.update(&parsed, reparse.readers);
            }
        }
        Ok(())
    }

    fn check_same_graph(&self, reparsed: &[Value], changed: &[PathBuf]) -> Result<(), String> {
        let again = |name: &str| reparsed.iter().any(|new| name_of(new) == Some(name));
        let reads =
            |recipe: &Value| strings(recipe, "read").any(|path| changed.iter().any(|file| file == Path::new(path)));
        if let Some((name, _)) = self.recipes.iter().find(|(name, old)| reads(old) && !again(name)) {
            return Err(format!("the recipe {name} was not parsed again"));
        }
        let asked = self.names_asked();
        for new in reparsed {
            let name = name_of(new).unwrap_or_default();
            match self.recipes.get(name) {
                Some(old) => {
                    if let Some(part) = OF_THE_GRAPH.into_iter().find(|part| old.get(part) != new.get(part)) {
                        return Err(format!("{part} of the recipe {name} changed"));
                    }
                }
                None if may_be_asked(new, &asked) => return Err(format!("the recipe {name} may be needed now")),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether a recipe makes the same task graph as the one that is known under its name.
    pub fn has_the_graph_of(&self, new: &Value) -> bool {
        let known = name_of(new).and_then(|name| self.recipes.get(name));
        known.is_some_and(|old| OF_THE_GRAPH.iter().all(|part| old.get(part) == new.get(part)))
    }

    /// The files of these recipes; `None` where one of them is not known.
    pub fn files_of(&self, names: &[String]) -> Option<Vec<PathBuf>> {
        names.iter().map(|name| path_of(self.recipes.get(name)?).map(Path::to_owned)).collect()
    }

    /// Every name that a recipe of the closure asks for.
    fn names_asked(&self) -> BTreeSet<String> {
        let asked = self.recipes.values().flat_map(|recipe| strings(recipe, "needs").chain(strings(recipe, "wants")));
        asked.map(str::to_owned).chain(self.recipes.keys().cloned()).collect()
    }
}

/// Whether a recipe outside of the closure gives a name that is asked for in it.
fn may_be_asked(recipe: &Value, asked: &BTreeSet<String>) -> bool {
    if strings(recipe, "provides").chain(strings(recipe, "packages")).any(|name| asked.contains(name)) {
        return true;
    }
    // Names of packages that are known only when they are made (PACKAGES_DYNAMIC), as regular expressions.
    strings(recipe, "dynamic").any(|pattern| match Regex::new(&format!("^(?:{pattern})")) {
        Ok(pattern) => asked.iter().any(|name| pattern.is_match(name)),
        Err(_) => true,
    }) || recipe.get("provides").is_none()
}

fn name_of(record: &Value) -> Option<&str> {
    record.get("name").and_then(Value::as_str)
}

fn path_of(record: &Value) -> Option<&Path> {
    record.get("path").and_then(Value::as_str).map(Path::new)
}

fn strings<'a>(recipe: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    recipe.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recipe(name: &str, needs: &[&str], url: &str) -> Value {
        json!({ "name": name, "version": "1", "layer": "l", "file": format!("{name}.bb"), "provides": [name],
            "needs": needs, "packages": [name], "wants": [], "graph": "g", "dynamic": [format!("^{name}-locale-.*")],
            "read": [format!("/l/{name}.bb"), "/l/common.inc"], "fetches": [url] })
    }

    fn known() -> Snapshot {
        let recipes = [recipe("image", &["hello"], ""), recipe("hello", &[], "https://h/1")];
        let recipes = recipes.map(|recipe| (recipe["name"].as_str().unwrap().to_owned(), recipe));
        Snapshot { recipes: recipes.into(), ..Snapshot::default() }
    }

    fn updated(reparsed: &[Value], changed: &[&str]) -> Result<Snapshot, String> {
        let mut snapshot = known();
        let reparse = Reparse { recipes: reparsed.to_vec(), ..Reparse::default() };
        snapshot.update(reparse, &changed.iter().map(PathBuf::from).collect::<Vec<_>>())?;
        Ok(snapshot)
    }

    #[test]
    fn what_is_fetched_may_change_and_the_graph_may_not() {
        let new = recipe("hello", &[], "https://h/2");
        assert_eq!(updated(std::slice::from_ref(&new), &["/l/hello.bb"]).unwrap().recipes["hello"], new);
        assert_eq!(updated(&[], &[]).unwrap(), known());
        let needs = recipe("hello", &["zlib"], "https://h/1");
        assert_eq!(updated(&[needs], &["/l/hello.bb"]).unwrap_err(), "needs of the recipe hello changed");
        // Both read it, and only one was parsed again.
        assert!(updated(&[new], &["/l/common.inc"]).unwrap_err().contains("image was not parsed again"));
    }

    #[test]
    fn what_other_recipes_say_of_moving_refs_stays() {
        let said = |path: &str, branch: &str| json!({ "path": path, "floating": [branch] });
        let mut snapshot = Snapshot { floating: vec![said("/l/a.bb", "main"), said("/l/b.bb", "main")], ..known() };
        let one = Reparse {
            only: Some(vec!["/l/b.bb".into()]),
            floating: vec![said("/l/b.bb", "next")],
            ..Reparse::default()
        };
        snapshot.update(one, &["/l/b.bbappend".into()]).unwrap();
        assert_eq!(snapshot.floating, [said("/l/a.bb", "main"), said("/l/b.bb", "next")]);
        // The recipe is gone.
        snapshot.update(Reparse { only: Some(vec![]), ..Reparse::default() }, &["/l/a.bb".into()]).unwrap();
        assert_eq!(snapshot.floating, [said("/l/b.bb", "next")]);
        // Everything was parsed that has to be.
        snapshot.update(Reparse::default(), &["/l/c.inc".into()]).unwrap();
        assert!(snapshot.floating.is_empty());
    }

    #[test]
    fn of_two_recipes_with_one_name_the_other_may_be_taken_now() {
        let mut second = recipe("hello", &[], "https://h/2");
        second["file"] = json!("hello_2.bb");
        assert_eq!(updated(&[second], &["/l/hello_2.bb"]).unwrap_err(), "file of the recipe hello changed");
    }

    #[test]
    fn a_recipe_outside_matters_if_something_asks_for_a_name_of_it() {
        assert_eq!(updated(&[recipe("other", &["hello"], "")], &["/l/other.bb"]).unwrap(), known());
        let mut other = recipe("other", &[], "");
        other["provides"] = json!(["hello"]);
        assert!(updated(&[other.clone()], &[]).unwrap_err().contains("other may be needed now"));
        other["provides"] = json!(["other"]);
        other["dynamic"] = json!(["^he.*"]);
        assert!(updated(&[other], &[]).is_err());
        assert!(updated(&[json!({ "name": "broken" })], &[]).is_err(), "nothing is known of it");
    }
}

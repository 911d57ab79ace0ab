//! `kbuild verify`: reads every byte of the store that the lock names, and compares it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::builder;
use crate::builder::layers::LayerChanges;
use crate::builder::unpack::UnpackFailure;
use crate::cli::describe::{OUTSIDE, configuration_json, extend, who};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::cli::stop;
use crate::error::{Error, Kind, Result};
use crate::lock::{Configuration, Lock, Use, Uses};
use crate::source::SourceId;
use crate::store::Store;

/// Reads every byte of the store that kbuild.lock names, and compares it with the lock.
///
/// Names the recipes and boards that would fail because of what is missing or damaged. Uses no network, except with
/// --repair, to fetch damaged sources again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild verify                                 everything the lock names
  kbuild verify --board qemu                    what one board needs, with any of its options
  kbuild verify --board qemu --set boot=rootfs  what one build needs
  kbuild verify --repair                        set damaged bytes aside and fetch them again
  kbuild verify --deep --board qemu             BitBake fetches and unpacks the board's closure, offline")]
pub(in crate::cli) struct VerifyArgs {
    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Only what a build with this option needs, besides the defaults; may be repeated.
    #[arg(long = "set", short, value_name = "OPTION[=CHOICE]", requires = "boards")]
    set: Vec<String>,

    /// Only what a machine of this architecture needs to build with the options given [default: with --set, the first that
    /// kbuild.toml names]
    #[arg(long, value_name = "ARCH", requires = "boards")]
    build_host: Option<String>,

    /// Set damaged sources aside, and fetch them and the missing ones again.
    #[arg(long)]
    repair: bool,

    /// After that, let BitBake itself fetch and unpack each board's whole closure, with no network, from the store alone.
    #[arg(long)]
    deep: bool,
}

/// What to verify: everything, or what some configurations need.
struct VerifyScope {
    sources: Vec<SourceId>,
    /// The choices that matter on each board, besides its default; `None` where every configuration matters.
    boards: Option<BTreeMap<String, Vec<String>>>,
}

/// A source whose bytes in the store are missing or not as locked.
struct Fault {
    id: SourceId,
    error: Error,
}

impl Fault {
    fn is_missing(&self) -> bool {
        self.error.kind() == Kind::Missing
    }
}

/// What a configuration does not have.
#[derive(Default)]
struct Lacking<'a> {
    layers: BTreeSet<&'a str>,
    declared: BTreeSet<&'a str>,
    recipes: BTreeSet<&'a str>,
    extra: bool,
}

impl VerifyArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let scope = self.scope(&project, &lock, output)?;
        let sources = &scope.sources;
        let store = project.store()?;
        let mut faults = runtime::work(output, || check(&store, &lock, sources))?;
        let mut repaired = 0;
        if self.repair && !faults.is_empty() {
            repaired = faults.len();
            runtime::work(output, || discard(&store, &lock, &faults))?;
            let again: Vec<SourceId> = faults.into_iter().map(|fault| fault.id).collect();
            runtime::wait(project.fetcher(global, output)?.sources(&lock, &again))?;
            faults = runtime::work(output, || check(&store, &lock, &again))?;
        }
        let engine = project.manifest.engine.as_deref().unwrap_or_default();
        let mut outcome = scope.report(&lock, faults, engine, output.is_verbose());
        extend(&mut outcome.json, json!({ "repaired": repaired }));
        if outcome.error.is_none() {
            let fetched_again =
                if repaired > 0 { format!(", {repaired} of them fetched again") } else { String::new() };
            output
                .say(&format!("{} in the store, every byte as locked{fetched_again}", count(sources.len(), "source")));
            if self.deep {
                self.go_deep(&project, &lock, &store, output, &mut outcome)?;
            }
        }
        Ok(outcome)
    }

    /// Runs BitBake's own fetchers over each board's closure.
    fn go_deep(
        &self,
        project: &Project,
        lock: &Lock,
        store: &Store,
        output: &Output,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let all: Vec<String> = project.manifest.boards.keys().cloned().collect();
        let kbuild = builder::seal::this_program();
        let mut errors = Vec::new();
        let mut boards = serde_json::Map::new();
        for board in if self.boards.is_empty() { &all } else { &self.boards } {
            let selection = project.manifest.select(board, &self.set)?;
            let request = builder::BuildRequest {
                manifest: &project.manifest,
                lock,
                store,
                board,
                asked: builder::Asked::Targets(&[]),
                selection: &selection,
                kbuild: &kbuild,
                require_seal: project.require_seal,
                changes: LayerChanges::NONE,
                cache: None,
                jobs: 1,
                progress: output.progress.as_ref(),
            };
            output.say(&format!("Board {board}: BitBake fetches and unpacks all recipes, with no network"));
            let proof = builder::fetch_and_unpack(&request, output.words)?;
            let failures: Vec<Value> = proof.failures.iter().map(failure_json).collect();
            boards.insert(board.clone(), json!({ "recipes": proof.recipes, "failures": failures }));
            if proof.failures.is_empty() {
                output.say(&format!("Board {board}: {} fetched and unpacked", count(proof.recipes, "recipe")));
            }
            errors.extend(proof.failures.into_iter().map(|failure| failed(board, failure)));
        }
        extend(&mut outcome.json, json!({ "deep": boards }));
        outcome.error = Error::all(errors, |count| format!("{count} recipes could not be fetched or unpacked"));
        Ok(())
    }

    fn scope(&self, project: &Project, lock: &Lock, output: &Output) -> Result<VerifyScope> {
        if self.boards.is_empty() {
            return Ok(VerifyScope { sources: lock.all_sources(), boards: None });
        }
        let mut sources = BTreeSet::new();
        let mut boards = BTreeMap::new();
        for board in &self.boards {
            let variants = project.manifest.variants(board)?;
            let all = variants.into_iter().map(|variant| variant.name).filter(|name| !name.is_empty());
            let mut settings = if self.set.is_empty() && self.build_host.is_none() {
                all.chain(lock.board(board)?.settings()).collect::<Vec<_>>()
            } else {
                project.settings(board, &self.set, self.build_host.as_deref())?
            };
            settings.sort();
            settings.dedup();
            for missing in project.unlocked(lock, board, &settings)? {
                output.warn(&missing);
            }
            sources.extend(lock.closure_with(board, &settings)?);
            boards.insert(board.clone(), settings);
        }
        Ok(VerifyScope { sources: sources.into_iter().collect(), boards: Some(boards) })
    }
}

impl VerifyScope {
    fn report(&self, lock: &Lock, faults: Vec<Fault>, engine: &str, whole: bool) -> Outcome {
        let nothing_is_there = faults.len() == self.sources.len() && faults.iter().all(Fault::is_missing);
        let uses = Uses::of(lock);
        let mut lacking: BTreeMap<Configuration<'_>, Lacking<'_>> = BTreeMap::new();
        let mut list = Vec::new();
        let mut errors = Vec::new();
        for Fault { id, error } in faults {
            let all = uses.all(&id);
            let named: Vec<&Use<'_>> = all.into_iter().filter(|of| self.covers_any(of)).collect();
            let mut alone: BTreeMap<Configuration<'_>, Lacking<'_>> = BTreeMap::new();
            for of in &named {
                self.add(of, &mut alone);
                self.add(of, &mut lacking);
            }
            list.push(json!({ "source": id, "kind": error.kind().name(), "needed_by": would_fail_json(&alone) }));
            let who: Vec<String> = who(&named, engine).into_iter().collect();
            errors.push(error.wrap(format!("{id}, {}, is missing or damaged", blame(&who))));
        }
        let total = self.sources.len();
        let json = json!({ "sources": total, "faults": list, "would_fail": would_fail_json(&lacking) });
        let mut outcome = Outcome::new(json, would_fail_text(&lacking, engine, whole));
        outcome.error =
            Error::all(errors, |faults| format!("{faults} of {} are not as locked", count(total, "source")));
        if nothing_is_there {
            let help = "the store has none of them: run `kbuild fetch`";
            outcome.error = outcome.error.map(|error| error.help(help));
        }
        outcome
    }

    fn covers(&self, configuration: Configuration<'_>) -> bool {
        let Some(boards) = &self.boards else { return true };
        let Some(settings) = boards.get(configuration.board) else { return false };
        configuration.setting.is_empty() || settings.iter().any(|name| name == configuration.setting)
    }

    fn covers_any(&self, of: &Use<'_>) -> bool {
        of.configurations().into_iter().any(|configuration| self.covers(configuration))
    }

    fn add<'a>(&self, of: &Use<'a>, lacking: &mut BTreeMap<Configuration<'a>, Lacking<'a>>) {
        for configuration in of.configurations().into_iter().filter(|configuration| self.covers(*configuration)) {
            let lacking = lacking.entry(configuration).or_default();
            match of {
                Use::Layer(name, _) => drop(lacking.layers.insert(name)),
                Use::Declared(name, _) => drop(lacking.declared.insert(name)),
                Use::Recipe(used, _) => drop(lacking.recipes.insert(used.name)),
                Use::Extra(_) => lacking.extra = true,
            }
        }
    }
}

fn failed(board: &str, failure: UnpackFailure) -> Error {
    let UnpackFailure { recipe, task, why } = failure;
    let what = if task == "none" { "was not tried".to_owned() } else { format!("failed to {task}") };
    Error::new(Kind::Engine, format!("{recipe} of board `{board}` {what}")).because(Error::new(Kind::Engine, why))
}

fn failure_json(failure: &UnpackFailure) -> Value {
    json!({ "recipe": failure.recipe, "task": failure.task, "why": failure.why })
}

/// Who needs a source, for an error: one or two by name, more by number.
fn blame(who: &[String]) -> String {
    match who {
        [] => "which nothing needs".to_owned(),
        [one] if one == OUTSIDE => format!("which is fetched {one}"),
        [one] => format!("which {one} needs"),
        [one, two] => format!("which {one} and {two} need"),
        [one, rest @ ..] => format!("which {one} and {} more need", rest.len()),
    }
}

fn would_fail_json(lacking: &BTreeMap<Configuration<'_>, Lacking<'_>>) -> Value {
    let one = |(configuration, lacking): (&Configuration<'_>, &Lacking<'_>)| {
        let mut value = configuration_json(*configuration);
        let Lacking { layers, declared, recipes, extra } = lacking;
        let more = json!({
            "layers": layers, "declared": declared, "recipes": recipes, "outside_of_recipes": extra,
        });
        extend(&mut value, more);
        value
    };
    lacking.iter().map(one).collect()
}

/// A line for each configuration that would fail, with the first few that fail in it, or with all.
fn would_fail_text(lacking: &BTreeMap<Configuration<'_>, Lacking<'_>>, engine: &str, whole: bool) -> String {
    const SHOWN: usize = 5;
    let shown = if whole { usize::MAX } else { SHOWN };
    let line = |(Configuration { board, setting }, lacking): (&Configuration<'_>, &Lacking<'_>)| {
        let with = if setting.is_empty() { String::new() } else { format!(" with {setting}") };
        let layer = |name: &&str| if *name == engine { "the engine".to_owned() } else { format!("layer {name}") };
        let mut what: Vec<String> = lacking.layers.iter().map(layer).collect();
        what.extend(lacking.extra.then(|| "what is fetched outside of recipes".to_owned()));
        if !what.is_empty() {
            what = vec![format!("every recipe, because these are missing: {}", what.join(", "))];
        }
        what.extend(lacking.declared.iter().map(|name| format!("source {name}")));
        what.extend(lacking.recipes.iter().take(shown).map(|name| (*name).to_owned()));
        let more = lacking.recipes.len().saturating_sub(shown);
        what.extend((more > 0).then(|| format!("{more} more recipes")));
        format!("{board}{with} would fail: {}", what.join(", "))
    };
    lacking.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Sets aside the sources that have wrong bytes.
fn discard(store: &Store, lock: &Lock, faults: &[Fault]) -> Result<()> {
    let wrong = faults.iter().filter(|fault| fault.error.kind() == Kind::Mismatch);
    wrong.into_iter().try_for_each(|fault| {
        stop::check()?;
        store.discard(lock.get(&fault.id)?).map(drop)
    })
}

/// The sources that the store does not have, or has with other bytes. Uses all cores.
fn check(store: &Store, lock: &Lock, sources: &[SourceId]) -> Result<Vec<Fault>> {
    let verify = |id: &SourceId| {
        let outcome = stop::check().and_then(|()| lock.get(id)).and_then(|locked| store.verify(locked));
        outcome.err().map(|error| Fault { id: id.clone(), error })
    };
    let faults: Vec<Fault> = sources.par_iter().filter_map(verify).collect();
    // That a store cannot be read says nothing about its sources.
    match faults.iter().position(|fault| !matches!(fault.error.kind(), Kind::Mismatch | Kind::Missing)) {
        Some(at) => Err(faults.into_iter().nth(at).map_or_else(
            || Error::bug("a fault was lost"),
            |Fault { id, error }| error.wrap(format!("{id} could not be verified")),
        )),
        None => Ok(faults),
    }
}

//! What goes on while BitBake runs: the events of kbuild's class, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};

use super::failure::plain;
use crate::bounds;
use crate::progress::{BuildPhase, BuildStatus, RunningTask};

/// How many of the slowest tasks are named at the end.
const SLOWEST: usize = 3;

/// How many tasks are remembered of each kind: any task can tell of tasks that there are not.
const MOST: usize = bounds::BUILD_TASKS as usize;

/// What kbuild's class says of BitBake (`kbuild_progress` and `kbuild_task_failed` in it).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum BuildEvent {
    /// The cache of parsed recipes is being read.
    CacheLoad,
    /// So many recipe files of all are parsed.
    Parse { done: usize, total: usize },
    /// All are parsed.
    Parsed,
    /// A task was started.
    Started(TaskEvent),
    /// A task ended well.
    Completed(TaskEvent),
    /// A task failed; one that was to be taken from shared state is then run.
    Failed(TaskEvent),
    /// A task need not run.
    Skipped(TaskEvent),
    /// Where the log of a failed task is. Comes from the process of the task itself.
    Log {
        #[serde(deserialize_with = "plain_text")]
        recipe: String,
        #[serde(deserialize_with = "plain_text")]
        task: String,
        file: String,
        log: Option<PathBuf>,
    },
}

/// What is said of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct TaskEvent {
    /// The recipe's name, by its file.
    #[serde(deserialize_with = "plain_text")]
    pub(super) recipe: String,
    /// `do_compile`.
    #[serde(deserialize_with = "plain_text")]
    pub(super) task: String,
    /// The recipe's file; `virtual:native:` and the like in front.
    pub(super) file: String,
    /// Whether this is the task that takes the result from shared state (BitBake's `setscene`).
    pub(super) from_cache: bool,
    /// Whether it does nothing.
    #[serde(default)]
    pub(super) noexec: bool,
    /// Why it is skipped: `existing` (it ran in an earlier build) or `covered`.
    pub(super) reason: Option<String>,
    /// Number of tasks in the graph.
    pub(super) total: usize,
    /// Of these, how many are done.
    pub(super) done: usize,
}

/// How the tasks of a build were done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Tasks in the graph of the targets, those without anything to do among them.
    pub total: usize,
    /// Tasks that ran.
    pub built: usize,
    /// Tasks whose result was taken from shared state: that of this machine, and what caches elsewhere gave.
    pub from_cache: usize,
    /// Tasks that ran in an earlier build in the same directory, and have nothing to do again.
    pub done_before: usize,
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedTask {
    pub(super) recipe: String,
    pub(super) task: String,
    /// As BitBake says it; it is not trusted.
    pub(super) log: Option<PathBuf>,
}

/// All that was said of a build so far.
#[derive(Debug)]
pub(super) struct Watch {
    started: Instant,
    phase: BuildPhase,
    total: usize,
    done: usize,
    built: usize,
    done_before: usize,
    /// `recipe:task` of what came from shared state.
    from_cache: BTreeSet<String>,
    /// What runs, by name and by whether it is taken from shared state.
    running: BTreeMap<(String, bool), Instant>,
    /// The slowest tasks so far, the slowest first.
    slowest: Vec<RunningTask>,
    failed: Vec<TaskEvent>,
    logs: Vec<(String, String, String, Option<PathBuf>)>,
}

/// A name that goes to a terminal: whoever sends it may have put anything into it.
fn plain_text<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    String::deserialize(text).map(|text| plain(&text))
}

impl TaskEvent {
    fn name(&self) -> String {
        format!("{}:{}", self.recipe, self.task)
    }
}

impl Watch {
    pub(super) fn new(now: Instant) -> Watch {
        Watch {
            started: now,
            phase: BuildPhase::Starting,
            total: 0,
            done: 0,
            built: 0,
            done_before: 0,
            from_cache: BTreeSet::new(),
            running: BTreeMap::new(),
            slowest: Vec::new(),
            failed: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// Takes an event in; gives the task that ended with it.
    pub(super) fn take(&mut self, event: BuildEvent, now: Instant) -> Option<RunningTask> {
        match event {
            BuildEvent::CacheLoad => self.phase = BuildPhase::LoadingCache,
            BuildEvent::Parse { done, total } => self.phase = BuildPhase::Parsing { done, total },
            BuildEvent::Parsed => self.phase = BuildPhase::Planning,
            BuildEvent::Log { recipe, task, file, log } => {
                if self.logs.len() < MOST {
                    self.logs.push((recipe, task, file, log));
                }
            }
            BuildEvent::Started(task) => {
                self.count(&task);
                // One without anything to do is started and completed without being run.
                if !task.noexec && self.running.len() < MOST {
                    self.running.insert((task.name(), task.from_cache), now);
                }
            }
            BuildEvent::Skipped(task) => {
                self.count(&task);
                self.done_before += usize::from(task.reason.as_deref() == Some("existing"));
            }
            BuildEvent::Completed(task) => {
                self.count(&task);
                return self.ended(&task, now);
            }
            BuildEvent::Failed(task) => {
                self.count(&task);
                self.running.remove(&(task.name(), task.from_cache));
                if !task.from_cache && self.failed.len() < MOST {
                    self.failed.push(task);
                }
            }
        }
        None
    }

    fn count(&mut self, task: &TaskEvent) {
        self.phase = BuildPhase::Running;
        (self.total, self.done) = (task.total, self.done.max(task.done));
    }

    fn ended(&mut self, task: &TaskEvent, now: Instant) -> Option<RunningTask> {
        let since = self.running.remove(&(task.name(), task.from_cache))?;
        let ended = RunningTask { name: task.name(), from_cache: task.from_cache, time: now - since };
        if task.from_cache {
            if self.from_cache.len() < MOST {
                self.from_cache.insert(task.name());
            }
        } else {
            self.built += 1;
            let place = self.slowest.partition_point(|other| other.time >= ended.time);
            self.slowest.insert(place, ended.clone());
            self.slowest.truncate(SLOWEST);
        }
        Some(ended)
    }

    /// How things are now.
    pub(super) fn status(&self, now: Instant) -> BuildStatus {
        let running = self.running.iter().map(|((name, from_cache), since)| RunningTask {
            name: name.clone(),
            from_cache: *from_cache,
            time: now - *since,
        });
        let mut running: Vec<RunningTask> = running.collect();
        running.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
        BuildStatus {
            phase: self.phase,
            total: self.total,
            done: self.done,
            built: self.built,
            from_cache: self.from_cache.len(),
            failed: self.failed.len(),
            running,
            elapsed: now - self.started,
        }
    }

    /// How the tasks were done.
    pub(super) fn counts(&self) -> TaskCounts {
        TaskCounts {
            total: self.total,
            built: self.built,
            from_cache: self.from_cache.len(),
            done_before: self.done_before,
        }
    }

    /// `recipe:task` of what came from shared state, sorted.
    pub(super) fn tasks_from_cache(&self) -> Vec<String> {
        self.from_cache.iter().cloned().collect()
    }

    /// The slowest tasks that ran, the slowest first, of those that took a second at least.
    pub(super) fn slowest(&self) -> impl Iterator<Item = &RunningTask> {
        self.slowest.iter().filter(|task| task.time >= Duration::from_secs(1))
    }

    /// What failed, each with its log.
    pub(super) fn failures(&self) -> Vec<FailedTask> {
        let failure = |task: &TaskEvent| {
            let of_file = |(_, name, file, _): &&(String, String, String, _)| {
                *name == task.task && task.file.ends_with(file.as_str())
            };
            // Of recipes that share a file, the one with this name.
            let exact = self.logs.iter().filter(of_file).find(|(recipe, ..)| *recipe == task.recipe);
            match exact.or_else(|| self.logs.iter().find(of_file)) {
                Some((recipe, _, _, log)) => {
                    FailedTask { recipe: recipe.clone(), task: task.task.clone(), log: log.clone() }
                }
                None => FailedTask { recipe: task.recipe.clone(), task: task.task.clone(), log: None },
            }
        };
        self.failed.iter().map(failure).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(recipe: &str, from_cache: bool, done: usize) -> TaskEvent {
        TaskEvent {
            recipe: recipe.to_owned(),
            task: "do_compile".to_owned(),
            file: format!("virtual:native:/l/{recipe}.bb"),
            from_cache,
            noexec: false,
            reason: None,
            total: 10,
            done,
        }
    }

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_words_of_the_class_are_understood() {
        for (text, event) in [
            (r#"{"event": "cache-load"}"#, BuildEvent::CacheLoad),
            (r#"{"event": "parse", "done": 1, "total": 2}"#, BuildEvent::Parse { done: 1, total: 2 }),
            (r#"{"event": "parsed"}"#, BuildEvent::Parsed),
        ] {
            assert_eq!(serde_json::from_str::<BuildEvent>(text).unwrap(), event);
        }
        let text = r#"{"event": "skipped", "recipe": "a", "file": "/a.bb", "task": "do_x", "from_cache": false,
                       "noexec": false, "reason": "existing", "total": 3, "done": 1}"#;
        assert!(matches!(serde_json::from_str(text).unwrap(), BuildEvent::Skipped(_)));
        // Anybody in the build can say anything.
        let text =
            r#"{"event": "log", "recipe": "a\u001b]0;x\u0007b", "task": "do_x\n", "file": "/a.bb", "log": null}"#;
        let event: BuildEvent = serde_json::from_str(text).unwrap();
        assert!(matches!(event, BuildEvent::Log { recipe, task, .. } if recipe == "a]0;xb" && task == "do_x"));
    }

    #[test]
    fn tasks_are_counted_by_how_they_were_done() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.take(BuildEvent::Parse { done: 3, total: 9 }, start);
        assert_eq!(watch.status(start).phase, BuildPhase::Parsing { done: 3, total: 9 });
        watch.take(BuildEvent::Started(task("a", true, 0)), start);
        watch.take(BuildEvent::Started(task("b", false, 0)), start);
        watch.take(BuildEvent::Started(task("c", false, 0)), after(2, start));
        let ended = watch.take(BuildEvent::Completed(task("a", true, 0)), after(3, start)).unwrap();
        assert!(ended.from_cache && ended.time == Duration::from_secs(3));
        watch.take(
            BuildEvent::Skipped(TaskEvent { reason: Some("covered".to_owned()), ..task("a", false, 1) }),
            after(3, start),
        );
        watch.take(
            BuildEvent::Skipped(TaskEvent { reason: Some("existing".to_owned()), ..task("d", false, 2) }),
            after(3, start),
        );
        watch.take(BuildEvent::Completed(task("b", false, 3)), after(5, start));
        let status = watch.status(after(6, start));
        let running: Vec<_> = status.running.iter().map(|task| (task.name.as_str(), task.time.as_secs())).collect();
        assert_eq!(running, [("c:do_compile", 4)]);
        assert_eq!((status.done, status.total, status.elapsed.as_secs()), (3, 10, 6));
        assert_eq!(watch.counts(), TaskCounts { total: 10, built: 1, from_cache: 1, done_before: 1 });
        assert_eq!(watch.tasks_from_cache(), ["a:do_compile"]);
        assert_eq!(watch.slowest().map(|task| task.name.as_str()).collect::<Vec<_>>(), ["b:do_compile"]);
    }

    #[test]
    fn more_tasks_than_there_can_be_are_not_remembered() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for number in 0..=MOST {
            watch.take(BuildEvent::Started(task(&number.to_string(), false, 0)), start);
            watch.take(BuildEvent::Failed(task(&format!("x{number}"), false, 0)), start);
        }
        assert_eq!((watch.running.len(), watch.failed.len()), (MOST, MOST));
    }

    #[test]
    fn a_failure_has_the_log_of_its_task_and_what_could_not_be_taken_from_a_cache_is_none() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let log = |recipe: &str, log: &str| BuildEvent::Log {
            recipe: recipe.to_owned(),
            task: "do_compile".to_owned(),
            file: "/l/a.bb".to_owned(),
            log: Some(PathBuf::from(log)),
        };
        watch.take(log("a-native", "/t/log.1"), start);
        watch.take(log("a", "/t/log.2"), start);
        watch.take(BuildEvent::Failed(task("a", true, 0)), start);
        watch.take(BuildEvent::Failed(task("a", false, 1)), start);
        let failed =
            FailedTask { recipe: "a".to_owned(), task: "do_compile".to_owned(), log: Some(PathBuf::from("/t/log.2")) };
        assert_eq!(watch.failures(), [failed]);
    }
}

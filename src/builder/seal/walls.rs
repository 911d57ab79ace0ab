//! The walls of the seal, and the mechanisms that hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A wall of the seal; `docs/reference/seal.md` says what each one holds, and a test tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Files outside of the build cannot be read or written.
    Files,
    /// No network but a loopback device of the build's own.
    Network,
    /// No unix socket of the host can be reached.
    UnixSockets,
    /// No process outside can be seen, signalled or traced.
    Processes,
    /// No System V IPC and no message queues of the host.
    Ipc,
    /// No address family that namespaces do not hold, no keyrings, no typing into the terminal.
    SystemCalls,
    /// No program gives new privileges.
    Privileges,
    /// Nothing open but standard input, output and error.
    Descriptors,
}

/// A mechanism that holds a wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// A namespace of the build's own (namespaces(7)).
    Namespace,
    /// Landlock's rules (landlock(7)).
    Landlock,
    /// A filter of system calls (seccomp(2)).
    Seccomp,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// They were closed.
    Closed,
}

/// All walls.
const ALL: [Wall; 8] = [
    Wall::Files,
    Wall::Network,
    Wall::UnixSockets,
    Wall::Processes,
    Wall::Ipc,
    Wall::SystemCalls,
    Wall::Privileges,
    Wall::Descriptors,
];

/// Each wall with the mechanisms that hold it; an empty set: it did not stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls(BTreeMap<Wall, BTreeSet<By>>);

impl Walls {
    /// No wall.
    pub fn none() -> Walls {
        Walls(ALL.into_iter().map(|wall| (wall, BTreeSet::new())).collect())
    }

    /// Whether every wall stood.
    pub fn all_stand(&self) -> bool {
        ALL.iter().all(|wall| self.stands(*wall))
    }

    /// Whether a wall stood.
    pub fn stands(&self, wall: Wall) -> bool {
        self.0.get(&wall).is_some_and(|by| !by.is_empty())
    }

    /// The walls that did not stand.
    pub fn missing(&self) -> impl Iterator<Item = Wall> {
        ALL.into_iter().filter(|wall| !self.stands(*wall))
    }

    /// What holds each wall.
    pub fn iter(&self) -> impl Iterator<Item = (Wall, &BTreeSet<By>)> {
        self.0.iter().map(|(wall, by)| (*wall, by))
    }

    /// Whether something holds any wall.
    pub fn held_by(&self, by: By) -> bool {
        self.0.values().any(|all| all.contains(&by))
    }

    pub(super) fn add(&mut self, walls: impl IntoIterator<Item = Wall>, by: By) {
        for wall in walls {
            self.0.entry(wall).or_default().insert(by);
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wall::Files => "files",
            Wall::Network => "network",
            Wall::UnixSockets => "unix-sockets",
            Wall::Processes => "processes",
            Wall::Ipc => "ipc",
            Wall::SystemCalls => "system-calls",
            Wall::Privileges => "privileges",
            Wall::Descriptors => "descriptors",
        })
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Namespace => "namespace",
            By::Landlock => "landlock",
            By::Seccomp => "seccomp",
            By::NoNewPrivs => "no-new-privs",
            By::Closed => "closed",
        })
    }
}

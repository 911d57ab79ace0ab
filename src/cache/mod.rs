//! Caches of BitBake's shared state elsewhere: which objects they have, and how these are brought and sent.
//!
//! What may enter: the names of objects, the places that `[cache]` names, and how each kind of place is asked. Nothing of
//! when a build asks (`builder`), nothing of what an object holds: BitBake signs and checks that itself
//! (`SSTATE_VERIFY_SIG`). No cache is needed: one that does not answer is warned of once, and left alone.

mod gc;
mod local;
mod object;
mod pull;
mod push;

pub use gc::{CacheGcPlan, CacheLimits, plan, remove};
pub use local::{LocalObject, LocalState};
pub use object::ObjectName;
pub use pull::{Brought, Caches};
pub use push::{CachePush, push};

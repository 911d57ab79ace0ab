//! Speaking to the engine: the configuration BitBake is given, and running it.
//!
//! What may enter: BitBake's variables, file formats, command line and environment. Nothing of Kata, nothing that decides
//! which sources a build has (the lock) or where bytes lie (the store).

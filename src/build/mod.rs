//! A board's build: layers and view laid out, the seal, the engine run, the result written and compared.

pub mod sandbox;

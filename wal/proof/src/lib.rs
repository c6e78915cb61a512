//! What the log engine is tried with: a plain model of a queue, a simulated disk with a channel on
//! it, and the scripts that both live and die by together.
//!
//! | file | holds |
//! | --- | --- |
//! | `script.rs` | the life of a channel as a value: generated, run, printed as a test |
//! | `shrink.rs` | from a script that fails to a short one that fails too |
//! | `campaign.rs` | many scripts on several threads |
//! | `life.rs`   | a channel and the model beside it, living through a script |
//! | `model.rs`  | the plain queue |
//! | `lab.rs`    | a simulated disk with a channel, and the few things that most tests do with both |
//! | `filled.rs` | a channel of which everything is known, to be damaged |
//! | `mutants.rs` | the tests on trial: ways to break the engine, and the tests that turn red |
//! | `common.rs` | random numbers, events that say what they are, options |
//!
//! The tests of the log stand on it, and so do the campaigns and the fuzz targets.

pub mod campaign;
mod common;
pub mod filled;
pub mod lab;
pub mod life;
pub mod model;
pub mod mutants;
pub mod script;
pub mod shrink;

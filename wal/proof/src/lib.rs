//! What the log engine is tried with: a plain model of a queue, a simulated disk with a channel on
//! it, and the worlds in which both live and die together.
//!
//! The tests of the log stand on it, and so do the campaigns and the fuzz targets.

pub mod filled;
pub mod fuzzing;
pub mod lab;
pub mod model;

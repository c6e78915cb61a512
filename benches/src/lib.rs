//! Forebay's measurements.

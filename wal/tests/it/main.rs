//! The log from outside: one test binary, a module a theme.

mod crash;
mod model;
mod os_disk;
mod sim_disk;

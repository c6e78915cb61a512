//! The log from outside: one test binary, a module a theme.

mod crash;
mod damage;
mod lab;
mod model;
mod os_disk;
mod sim_disk;

//! The log from outside: one test binary, a module a theme.

mod any_directory;
mod classes;
mod corpora;
mod crash;
mod damage;
mod damaged_files;
mod damaged_lives;
mod evidence;
mod failed_opens;
mod failures;
mod fixtures;
mod forged;
mod limits;
mod os_disk;
mod sim_disk;
mod threads;
mod worlds;

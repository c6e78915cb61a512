//! The log from outside: one test binary, a module a theme.

mod any_directory;
mod check;
mod classes;
mod corpora;
mod crash;
mod damage;
mod damaged_files;
mod damaged_lives;
mod evidence;
mod failed_opens;
mod failing_calls;
mod failures;
mod fixtures;
mod flume_probes;
mod forged;
mod full_disk;
mod in_doubt;
mod limits;
mod os_disk;
mod quarantine;
mod sim_damage;
mod sim_disk;
mod stale;
mod story;
mod stress;

mod threads;
mod together;
mod verdicts;
mod worlds;

//! Any bytes in a channel's files: it opens, serves, takes a put, and opens again.
//!
//! The input changes a sound channel: each step names a file, a place and what to put there.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_wal::fs::sim::{SimFs, sim_env};
use forebay_wal::{Background, Channel, Env, Options};
use libfuzzer_sys::fuzz_target;

const DIR: &str = "/channel";

fn options() -> Options {
    Options::new().bytes_max(1 << 20).background(Background::Manual)
}

/// A channel with several segments, of which some events are taken.
fn filled(env: &Env) {
    let channel = Channel::open_in(Path::new(DIR), options(), env.clone()).expect("a new channel");
    for round in 0..60u32 {
        let mut put = channel.put_transaction();
        for event in 0..5u32 {
            let body = vec![round as u8; 900];
            put.put(&[&event.to_le_bytes()[..], &body].concat()).expect("it fits");
        }
        put.commit().expect("there is space");
        if round % 3 == 0 {
            let mut take = channel.take_transaction("main").expect("a take");
            take.take_many(7, usize::MAX).expect("events");
            take.commit().expect("acknowledged");
        }
    }
}

/// Applies the steps of the input to the files.
fn damage(fs: &SimFs, mut steps: &[u8]) {
    while let [file, how, rest @ ..] = steps {
        let files: Vec<PathBuf> =
            fs.paths().into_iter().filter(|path| path.extension().is_some()).collect();
        let Some(path) = files.get(usize::from(*file) % files.len().max(1)) else { return };
        let len = fs.read_file(path).len() as u64;
        let Some((place, rest)) = rest.split_first_chunk::<4>() else { return };
        let at = u64::from(u32::from_le_bytes(*place)) % len.max(1);
        let bytes = usize::from(how >> 3).min(rest.len());
        match how % 6 {
            0 => fs.flip_bit(path, at, how >> 5),
            1 => fs.zero_sectors(path, at / 4096..at / 4096 + 1),
            2 => fs.truncate(path, at),
            3 => fs.remove_quietly(path),
            4 => fs.copy_over(path, &files[(at as usize) % files.len()]),
            _ if at + (bytes as u64) <= len => fs.overwrite(path, at, &rest[..bytes]),
            _ => {}
        }
        steps = &rest[bytes..];
    }
}

fuzz_target!(|input: &[u8]| {
    let (env, fs, _clock) = sim_env(1);
    filled(&env);
    damage(&fs, input);
    let mut disk = fs;
    for _ in 0..2 {
        disk = disk.kill();
        let env = Env { fs: Arc::new(disk.clone()), ..env.clone() };
        let channel = Channel::open_in(Path::new(DIR), options(), env).expect("it always opens");
        let mut take = channel.take_transaction("main").expect("a cursor");
        take.take_many(usize::MAX, usize::MAX).expect("no disk has failed");
        take.commit().expect("acknowledged");
        let mut put = channel.put_transaction();
        put.put(b"on it goes").expect("it fits");
        put.commit().expect("all is taken, so that there is space");
    }
});

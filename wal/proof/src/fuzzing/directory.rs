//! Whole directories: a sound channel, changed step by step as the input says. It opens, serves,
//! takes puts, and has them at the next open.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use forebay_wal::fs::sim::{SimFs, Survive, sim_env};
use forebay_wal::{Channel, Env, ErrorKind, Inspection, SyncClass};

use crate::filled::losses;
use crate::lab::{Lab, put, rises};
use crate::life::Life;
use crate::model::{DIR, id_of, options};
use crate::script::{Class, Recipe, Script};

use super::Input;
use super::damage::{self, Damage};

/// More calls to the disk than any open of so small a channel needs.
const OPS_MAX: u64 = 5000;
/// More takes than any channel of this size needs until nothing is left.
const TAKES_MAX: usize = 2000;
/// A forged header can say that the log has come to the end of all numbers: it opens, and has none
/// left for what is put.
const NUMBERS_LEFT: u64 = 1 << 61;
/// The event that is put at the end.
const LAST_ID: u64 = 3_000_001;

/// A channel as a life left it, and the same earlier in that life.
struct Base {
    fs: SimFs,
    older: SimFs,
    sync: SyncClass,
}

/// The first byte names a channel; the rest are steps.
pub fn directory(input: &[u8]) {
    static BASES: [OnceLock<Base>; 6] = [const { OnceLock::new() }; 6];
    let mut input = Input::new(input);
    let number = usize::from(input.u8()) % BASES.len();
    let base = BASES[number].get_or_init(|| lived(number as u64));
    let (env, _, clock) = sim_env(1);
    let fs = base.fs.image(Survive::Everything);
    let env = Env { fs: Arc::new(fs.clone()), ..env };
    let lab = Lab { env, fs, clock, options: options(base.sync) };
    let damage = damage::apply(&lab, &base.older, &mut input);
    verify(&lab, damage);
}

/// Lives of several lengths, under two sync classes, ended by a stop or a power cut.
fn lived(number: u64) -> Base {
    let class = if number.is_multiple_of(3) { Class::Os } else { Class::Commit };
    let mut life = Life::new(number + 1, class);
    let script = Script::random(number + 1, class, Recipe::calm(120 + 40 * number as usize));
    let mut older = None;
    for (step, op) in script.ops.iter().enumerate() {
        life.step(op).expect("a life without a mishap");
        if step == script.ops.len() / 2 {
            older = Some(life.lab.fs.image(Survive::Everything));
        }
    }
    let survive =
        if number.is_multiple_of(2) { Survive::Seed(number) } else { Survive::Everything };
    let fs = life.lab.fs.image(survive);
    Base { fs, older: older.expect("half of the life"), sync: class.sync() }
}

fn verify(lab: &Lab, damage: Damage) {
    match Inspection::read_in(Path::new(DIR), &lab.env) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotAChannel => {}
        Err(error) => check_refusal(&error, damage),
    }
    let before = lab.fs.ops();
    let channel = match lab.try_open() {
        Ok(channel) => channel,
        Err(error) => return check_refusal(&error, damage),
    };
    let ops = lab.fs.ops() - before;
    assert!(ops < OPS_MAX, "{ops} calls to open it");
    let stats = channel.stats();
    if damage.forged && stats.next_lsn.max(stats.next_seq) > NUMBERS_LEFT {
        return;
    }
    let cursors = channel.stats().cursors;
    let names: Vec<String> = cursors.into_iter().map(|cursor| cursor.name).collect();
    for cursor in names.iter().map(String::as_str).chain(["main", "second"]) {
        drain(&channel, cursor, damage);
    }
    lab.idle(&channel);
    lab.idle(&channel);
    // Before the put, which may go on in another segment while this one is still to be copied aside.
    assert!(damage.forged || channel.stats().segments_live == 1, "{:?}", channel.stats());
    let receipt = match put(&channel, [LAST_ID]) {
        Ok(receipt) => receipt,
        // A forged State may hold what pins for ever, or a limit of one event.
        Err(error) if damage.forged && error.kind() == ErrorKind::Full => return,
        Err(error) => panic!("it takes no puts: {error}"),
    };
    let losses_before = losses(&channel);
    drop(channel);
    let channel = lab.open();
    let last = drain(&channel, "main", damage).pop();
    // What is forged may say that events were seen which nobody has put yet.
    if !damage.forged {
        assert_eq!(last, Some((receipt.first_seq, LAST_ID)), "what was acknowledged is not there");
        assert_eq!(losses(&channel), losses_before);
    }
}

/// A channel may be refused only for what a forged header says.
fn check_refusal(error: &forebay_wal::Error, damage: Damage) {
    let allowed = damage.forged && error.kind() == ErrorKind::NewerVersion;
    assert!(allowed, "{error}");
}

/// Takes and acknowledges all that a cursor has still to see.
fn drain(channel: &Channel, cursor: &str, damage: Damage) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for _ in 0..TAKES_MAX {
        let mut take = match channel.take_transaction(cursor) {
            Ok(take) => take,
            Err(error) if damage.forged => {
                let expected = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::LimitReached);
                assert!(expected, "{error}");
                return all;
            }
            Err(error) => panic!("{error}"),
        };
        let taken = take.take_many(50, usize::MAX).expect("no disk has failed");
        if taken.is_empty() {
            assert!(rises(&all), "out of order");
            return all;
        }
        for event in taken {
            // What is not forged is never delivered wrong.
            let id = if damage.forged { loose_id(&event.bytes) } else { id_of(&event.bytes) };
            all.push((event.seq, id));
        }
        take.commit().expect("an acknowledgement");
    }
    panic!("{cursor} has no end");
}

/// The number that an event begins with, whatever else it holds.
fn loose_id(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id))
}

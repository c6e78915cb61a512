//! A channel on a simulated disk of which everything is known, to be damaged; and what must hold
//! after that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use forebay_wal::{Channel, Damage, Loss};

use crate::lab::{
    ACK, Block, Lab, PUT, ack, blocks, drain, name_of, peek, put, rises, seqs, u64_at,
};
use crate::model::{DIR, Dice};

/// A channel with a few live segments, and all that is known of it.
pub struct Filled {
    pub lab: Lab,
    /// seq -> id
    pub events: BTreeMap<u64, u64>,
    /// What each cursor has acknowledged.
    pub acked: BTreeMap<&'static str, BTreeSet<u64>>,
    /// The live segments, oldest first, and their blocks.
    pub live: Vec<(PathBuf, Vec<Block>)>,
}

pub const CURSORS: [&str; 2] = ["main", "second"];

/// Four segments and a bit: `main` has seen little, `second` here and there; all of it is synced
/// and says so.
pub fn filled(seed: u64) -> Filled {
    let lab = Lab::new(seed);
    let channel = lab.open();
    let mut dice = Dice::new(seed);
    let mut events = BTreeMap::new();
    let mut acked = BTreeMap::from([("main", BTreeSet::new()), ("second", BTreeSet::new())]);
    let mut id = 1;
    let mut since = 0;
    while channel.stats().segments_live < 4 || since < 8 {
        let count = 1 + dice.below(5);
        let receipt = put(&channel, id..id + count).expect("there is room");
        for n in 0..count {
            events.insert(receipt.first_seq + n, id + n);
        }
        id += count;
        since += u64::from(channel.stats().segments_live == 4);
        if dice.below(4) == 0 {
            let seen = ack(&channel, "second", 1 + dice.below(4) as usize);
            acked.get_mut("second").expect("known").extend(seen);
        }
        if dice.below(6) == 0 {
            lab.idle(&channel);
        }
    }
    lab.idle(&channel);
    drop(channel);
    let mut live = Vec::new();
    for path in lab.segments() {
        let found = blocks(&lab.fs.read_file(&path));
        if !found.is_empty() {
            live.push((path, found));
        }
    }
    assert_eq!(live.len(), 4);
    Filled { lab, events, acked, live }
}

/// What a damage may cost.
#[derive(Debug, Default, Clone)]
pub struct Cost {
    /// Seqs that are lost on every cursor that has not seen them.
    pub lost: BTreeSet<u64>,
    /// Whether acknowledgements are lost: what they named may come again.
    pub acks: bool,
}

impl Filled {
    /// What it costs to lose every block that stands between two offsets of a segment.
    pub fn cost(&self, segment: usize, from: u64, until: u64) -> Cost {
        let mut cost = Cost::default();
        for block in self.live[segment].1.iter().filter(|block| block.touches(from, until)) {
            if block.has(PUT) {
                cost.lost.extend(block.seqs.0..block.seqs.1);
            }
            cost.acks |= block.has(ACK);
        }
        cost
    }

    /// Opens a damaged copy, looks at everything, goes on, opens again.
    pub fn verify(&self, what: &str, lab: &Lab, cost: &Cost) {
        let before: BTreeMap<String, Vec<u8>> =
            lab.segments().iter().map(|path| (name_of(path), lab.fs.read_file(path))).collect();
        let needed: BTreeSet<u64> =
            cost.lost.iter().copied().filter(|s| self.is_needed(*s)).collect();
        let check = lab.check();
        let told: BTreeSet<u64> = check.damages.iter().flat_map(seqs_of).collect();
        assert!(cost.lost.is_subset(&told), "{what}: a check finds {:?}", check.damages);
        // A crash may have come between the loss and the look.
        let costs = |damage: &Damage| match damage.known {
            true => seqs_of(damage).filter(|seq| needed.contains(seq)).count() as u64,
            false => damage.waiting,
        };
        let costs: u64 = check.damages.iter().map(costs).sum();
        assert_eq!(costs, needed.len() as u64, "{what}: a check finds {:?}", check.damages);
        let channel = lab.open();
        self.check_events(what, &channel, cost);
        for damage in lab.check().damages {
            let known = damage.known || seqs_of(&damage).all(|seq| !needed.contains(&seq));
            assert!(known && damage.waiting == 0, "{what}: not known is {damage:?}");
        }
        let lost = losses(&channel);
        assert_eq!(named(&lost), needed, "{what}: the ledger names {lost:?}");
        let stats = channel.stats();
        assert_eq!(stats.lost_events, needed.len() as u64, "{what}: {lost:?}");
        for loss in &lost {
            let again = lost.iter().filter(|other| other.seqs.start < loss.seqs.end);
            let again = again.filter(|other| loss.seqs.start < other.seqs.end);
            assert!(loss.seqs.is_empty() || again.count() == 1, "{what}: twice in {lost:?}");
        }
        self.check_second_open(what, lab, channel, &before, &lost);
    }

    fn is_needed(&self, seq: u64) -> bool {
        self.acked.values().any(|acked| !acked.contains(&seq))
    }

    pub fn check_events(&self, what: &str, channel: &Channel, cost: &Cost) {
        for cursor in CURSORS {
            let seen = peek(channel, cursor);
            assert!(rises(&seen), "{what}: out of order");
            for (seq, id) in &seen {
                assert_eq!(self.events.get(seq), Some(id), "{what}: seq {seq} is another event");
            }
            let seen = seqs(&seen);
            let acked = &self.acked[cursor];
            let expected: BTreeSet<u64> = self.events.keys().copied().collect();
            let expected = &(&expected - acked) - &cost.lost;
            let missing: Vec<_> = expected.difference(&seen).collect();
            assert_eq!(missing, Vec::<&u64>::new(), "{what}: {cursor} does not get these");
            let more: BTreeSet<u64> = seen.difference(&expected).copied().collect();
            let again = more.iter().all(|seq| acked.contains(seq));
            assert!(more.is_empty() || (cost.acks && again), "{what}: {cursor} gets {more:?}");
        }
    }

    /// Goes on, drains, reclaims: the damaged bytes are in quarantine, and nothing is noticed twice.
    fn check_second_open(
        &self,
        what: &str,
        lab: &Lab,
        channel: Channel,
        before: &BTreeMap<String, Vec<u8>>,
        lost: &[Loss],
    ) {
        let next = self.events.values().max().expect("events") + 1;
        put(&channel, [next]).expect("it takes puts");
        lab.idle(&channel);
        drop(channel);
        let channel = lab.open();
        assert_eq!(losses(&channel), lost, "{what}: another loss at the second open");
        for cursor in CURSORS {
            let seen = drain(&channel, cursor);
            assert_eq!(seen.last().map(|last| last.1), Some(next), "{what}");
        }
        assert_eq!(losses(&channel), lost, "{what}: another loss while taking");
        lab.idle(&channel);
        lab.idle(&channel);
        assert_eq!(channel.stats().segments_live, 1, "{what}: not reclaimed");
        let kept = lab.quarantine();
        for loss in lost.iter().filter(|loss| loss.len_bytes > 0) {
            let name = format!("{:020}-{:010}.damaged", loss.segment, loss.offset_bytes);
            let (file, bytes) = before
                .iter()
                .find(|(_, bytes)| bytes.len() > 48 && u64_at(bytes, 32) == loss.segment)
                .or_else(|| before.get_key_value(&format!("{:020}.wal", loss.segment)))
                .expect("the segment of a loss");
            let (from, until) = (loss.offset_bytes, loss.offset_bytes + loss.len_bytes);
            let until = until.min(bytes.len() as u64);
            let Some(kept) = kept.get(&name) else {
                // It is the active one still.
                assert!(lab.fs.exists(format!("{DIR}/{file}")), "{what}: {name}");
                continue;
            };
            assert_eq!(kept[..], bytes[from as usize..until as usize], "{what}: {name}");
        }
        drop(channel);
        let channel = lab.open();
        assert_eq!(losses(&channel), lost, "{what}: another loss at the third open");
        assert!(peek(&channel, "main").is_empty() && peek(&channel, "second").is_empty());
    }
}

fn seqs_of(damage: &Damage) -> std::ops::Range<u64> {
    damage.seqs.start..damage.seqs.end
}

pub fn losses(channel: &Channel) -> Vec<Loss> {
    channel.stats().recent_losses
}

pub fn named(losses: &[Loss]) -> BTreeSet<u64> {
    losses.iter().flat_map(|loss| loss.seqs.start..loss.seqs.end).collect()
}

/// With the checkpoints and without: what costs something costs the same.
pub fn both_ways(filled: &Filled, what: &str, damage: impl Fn(&Lab), cost: &Cost) {
    damaged_both_ways(filled, what, damage, |what, lab| filled.verify(what, lab, cost));
}

/// Damages a copy with the checkpoints and one without, and checks each.
pub fn damaged_both_ways(
    filled: &Filled,
    what: &str,
    damage: impl Fn(&Lab),
    check: impl Fn(&str, &Lab),
) {
    for without in [false, true] {
        let lab = filled.lab.copy();
        if without {
            for name in ["checkpoint.a", "checkpoint.b"] {
                lab.fs.remove_quietly(format!("{DIR}/{name}"));
            }
        }
        damage(&lab);
        check(&format!("{what}, checkpoints gone: {without}"), &lab);
    }
}

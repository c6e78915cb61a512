//! Old blocks that stand where the log will come along: cut off by a power cut, left from an earlier
//! lap, or from another channel whose place on the disk this one has got.

use forebay_proof::lab::{Lab, PUT, SECTOR, blocks, peek, put};
use forebay_proof::model::{event, options};
use forebay_wal::fs::sim::Survive;
use forebay_wal::{Channel, SyncClass};

fn ids(channel: &Channel) -> Vec<u64> {
    peek(channel, "main").iter().map(|(_, id)| *id).collect()
}

/// An event whose block takes three sectors at least.
fn long(from: u64) -> u64 {
    let len = |id: &u64| event(*id).len() as u64;
    (from..from + 1000).find(|id| len(id) > 7900).expect("there are many")
}

/// An event whose block takes one sector.
fn short(from: u64) -> u64 {
    (from..from + 1000).find(|id| event(*id).len() < 300).expect("there are many")
}

#[test]
fn p2_p4_what_was_cut_off_does_not_come_back_behind_what_is_put_later() {
    // The two States of the next open and one block take as much as the block that is lost.
    for sync in [SyncClass::Os, SyncClass::Interval(std::time::Duration::from_secs(9))] {
        let lab = Lab::new(7).with(options(sync));
        let channel = lab.open();
        lab.idle(&channel);
        put(&channel, [short(1)]).expect("room");
        lab.idle(&channel);
        let (lost, behind) = (long(10), short(100));
        put(&channel, [lost]).expect("room");
        let mut second = channel.put_transaction();
        second.put(&event(behind)).expect("it fits");
        second.set_producer("p", 50).expect("it fits");
        second.set_position("file", b"1000").expect("it fits");
        second.commit().expect("room");
        put(&channel, [short(200)]).expect("room");
        drop(channel);
        let lab = lab.on(lab.fs.crash(Survive::Everything));
        // Of what was not synced the power cut took the first write.
        let path = lab.segments().into_iter().find(|path| {
            let found = blocks(&lab.fs.read_file(path));
            found.iter().filter(|block| block.has(PUT)).count() == 4
        });
        let path = path.expect("the active segment");
        let found = blocks(&lab.fs.read_file(&path));
        let hit = found.iter().find(|block| block.has(PUT) && block.len >= 2 * SECTOR);
        let hit = hit.expect("the long one").clone();
        lab.fs.zero_sectors(&path, hit.offset..hit.end());
        let channel = lab.open();
        assert_eq!(ids(&channel), [short(1)], "{sync:?}");
        let losses = channel.stats().losses;
        let fresh = short(300);
        put(&channel, [fresh]).expect("room");
        for survive in [Survive::Everything, Survive::Nothing] {
            let channel = lab.on(lab.fs.image(survive)).open();
            let seen = ids(&channel);
            let whole = seen == [short(1), fresh] || seen == [short(1)];
            assert!(whole, "{sync:?}: {seen:?}");
            assert_eq!(channel.stats().losses, losses, "{sync:?}: a loss too many");
            // Else the producer, which was told of the loss, could not put that again.
            assert_eq!(channel.producer_sequence("p"), None, "{sync:?}, {survive:?}");
            assert_eq!(channel.position("file"), None, "{sync:?}, {survive:?}");
        }
    }
}

#[test]
fn p2_blocks_of_another_channel_in_the_same_place_are_not_taken_for_this_ones() {
    let (old, new) = (Lab::new(1), Lab::new(2));
    let channel = old.open();
    for id in 1..30 {
        put(&channel, [id]).expect("room");
    }
    drop(channel);
    let channel = new.open();
    for id in 101..105 {
        put(&channel, [id]).expect("room");
    }
    drop(channel);
    // The space of the new segments was the old one's before, and nobody had wiped it.
    let mut overlaid = 0;
    for path in new.segments() {
        let bytes = new.fs.read_file(&path);
        let end = blocks(&bytes).last().map_or(SECTOR, |last| last.end());
        if old.fs.exists(&path) {
            let stale = old.fs.read_file(&path);
            overlaid += blocks(&stale).iter().filter(|block| block.offset >= end).count();
            new.fs.overwrite(&path, end, &stale[end as usize..]);
        }
    }
    assert!(overlaid > 10, "{overlaid} old blocks stand behind the new ones");
    let channel = new.open();
    assert_eq!(ids(&channel), [101, 102, 103, 104]);
    assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
    put(&channel, [105]).expect("room");
    drop(channel);
    assert_eq!(ids(&new.open()), [101, 102, 103, 104, 105]);
}

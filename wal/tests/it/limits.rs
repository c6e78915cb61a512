//! A full channel is a normal state: the limit holds, and everything but puts goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use forebay_wal::fs::sim::Survive;
use forebay_wal::{Background, Channel, CursorStart, Error, ErrorKind, Options, SyncClass};

use forebay_proof::lab::{Lab, PUT, ack, blocks, drain, for_seeds, peek, put, seqs};
use forebay_proof::model::{DIR, Dice, event, id_of, options};

const LIMIT: u64 = 1 << 20;

fn plain() -> Options {
    Options::new()
        .bytes_max(LIMIT)
        .background(Background::Manual)
        .put_timeout(Duration::ZERO)
        .checkpoint_bytes(64 << 10)
}

/// Puts until the channel says that it is full; the next id.
fn fill(lab: &Lab, channel: &Channel, mut id: u64) -> u64 {
    loop {
        match put(channel, [id]) {
            Ok(_) => id += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                assert!(error.to_string().contains("cursor \"main\""), "{error}");
                within(lab);
                return id;
            }
        }
        within(lab);
    }
}

fn within(lab: &Lab) {
    let bytes = lab.allocated_bytes();
    assert!(bytes <= LIMIT, "{bytes} bytes are allocated");
}

#[test]
fn p9_a_full_channel_refuses_puts_and_does_everything_else() {
    let lab = Lab::new(1).with(plain());
    let channel = lab.open();
    let end = fill(&lab, &channel, 1);
    assert!(end > 100, "only {end} events fit");
    let mut take = channel.take_transaction("main").expect("a take");
    assert_eq!(take.take_many(20, usize::MAX).expect("events").len(), 20);
    take.rollback();
    channel.checkpoint();
    channel.tend();
    within(&lab);
    drop(channel);
    let channel = lab.open();
    within(&lab);
    assert_eq!(put(&channel, [end]).expect_err("still full").kind(), ErrorKind::Full);
    let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (1..end).collect::<Vec<_>>());
    within(&lab);
    // All goes on by itself.
    let later = fill(&lab, &channel, end);
    assert!(later > end + 100, "only {} fit now", later - end);
    let seen: Vec<u64> = peek(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (end..later).collect::<Vec<_>>());
}

#[test]
fn p9_a_full_channel_opens_any_number_of_times() {
    let lab = Lab::new(2).with(plain());
    let end = fill(&lab, &lab.open(), 1);
    for opening in 0..300 {
        let channel = lab.open();
        within(&lab);
        assert_eq!(channel.stats().events, end - 1, "opening {opening}");
        if opening % 3 == 0 {
            lab.idle(&channel);
            within(&lab);
        }
        drop(channel);
    }
    let channel = lab.open();
    assert_eq!(drain(&channel, "main").len() as u64, end - 1);
    lab.idle(&channel);
    within(&lab);
    assert!(fill(&lab, &channel, end) > end + 100);
}

#[test]
fn p9_thousands_of_single_acknowledgements_go_through_a_full_channel() {
    let lab = Lab::new(3).with(plain());
    let channel = lab.open();
    let mut id = 1_u64;
    loop {
        let mut put = channel.put_transaction();
        for n in 0..60 {
            put.put(&(id + n).to_le_bytes()).expect("it fits");
        }
        if put.commit().is_err() {
            break;
        }
        id += 60;
    }
    within(&lab);
    assert!(id > 4000, "{id}");
    for n in 1..id {
        let seen = ack(&channel, "main", 1);
        assert_eq!(seen, [n]);
        if n % 50 == 0 {
            within(&lab);
        }
    }
    drop(channel);
    let channel = lab.open();
    assert!(peek(&channel, "main").is_empty());
    put(&channel, [7]).expect("there is room");
}

#[test]
fn p9_one_held_event_pins_its_own_segment_and_not_those_behind_it() {
    for reopen in [false, true] {
        let lab = Lab::new(4).with(plain());
        let mut channel = lab.open();
        put(&channel, [1]).expect("room");
        let mut held = channel.take_transaction("main").expect("a take");
        assert_eq!(id_of(&held.take().expect("it reads").expect("there").bytes), 1);
        let mut id = 2;
        for lap in 0..12 {
            let next = fill(&lab, &channel, id);
            assert!(next > id + 60, "lap {lap}: only {} fit", next - id);
            let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
            assert_eq!(seen, (id..next).collect::<Vec<_>>(), "lap {lap}");
            id = next;
            within(&lab);
            if reopen {
                held.rollback();
                drop(channel);
                channel = lab.open();
                held = channel.take_transaction("main").expect("a take");
                assert_eq!(id_of(&held.take().expect("it reads").expect("there").bytes), 1);
            }
        }
        held.rollback();
        assert_eq!(peek(&channel, "main").len(), 1);
    }
}

#[test]
fn p8_p9_random_takes_on_a_full_channel_never_block_an_acknowledgement() {
    for_seeds(12, |seed| {
        let lab = Lab::new(seed).with(plain());
        let mut channel = lab.open();
        let mut dice = Dice::new(seed);
        let mut id = 1;
        let mut waiting = BTreeSet::new();
        let mut open: Vec<(forebay_wal::TakeTransaction, Vec<u64>)> = Vec::new();
        for step in 0..1500 {
            match dice.below(10) {
                0..=3 => match put(&channel, id..id + 3) {
                    Ok(receipt) => {
                        waiting.extend(receipt.first_seq..receipt.first_seq + 3);
                        id += 3;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
                },
                4..=6 => {
                    let mut take = channel.take_transaction("main").expect("a take");
                    let taken = take.take_many(1 + dice.below(3) as usize, usize::MAX);
                    let seqs = taken.expect("events").iter().map(|taken| taken.seq).collect();
                    open.push((take, seqs));
                }
                7 if !open.is_empty() => {
                    let at = dice.below(open.len() as u64) as usize;
                    open.swap_remove(at).0.rollback();
                }
                8 if !open.is_empty() => {
                    let at = dice.below(open.len() as u64) as usize;
                    let (take, seqs) = open.swap_remove(at);
                    take.commit().expect("an acknowledgement is never refused");
                    seqs.iter().for_each(|seq| assert!(waiting.remove(seq)));
                }
                _ if dice.below(20) == 0 => {
                    open.clear();
                    drop(channel);
                    channel = lab.open();
                }
                _ => lab.idle(&channel),
            }
            if step % 10 == 0 {
                within(&lab);
            }
        }
        open.clear();
        assert_eq!(seqs(&peek(&channel, "main")), waiting);
    });
}

#[test]
fn p8_many_open_takes_with_every_other_one_acknowledged_stay_within_bounds() {
    let lab = Lab::new(5).with(plain());
    let channel = lab.open();
    let mut put = channel.put_transaction();
    for n in 0..2000 {
        // The short ones.
        put.put(&event(7 * n)).expect("it fits");
    }
    put.commit().expect("room");
    let mut waiting: BTreeSet<u64> = (1..=2000).collect();
    for _ in 0..30 {
        let mut open = Vec::new();
        for _ in 0..200 {
            let mut take = channel.take_transaction("main").expect("a take");
            let taken = take.take_many(1, usize::MAX).expect("events");
            open.push((take, taken));
        }
        for (index, (take, taken)) in open.into_iter().enumerate() {
            if index % 2 == 0 {
                take.commit().expect("an acknowledgement is never refused");
                taken.iter().for_each(|taken| assert!(waiting.remove(&taken.seq)));
            } else {
                take.rollback();
            }
        }
    }
    drop(channel);
    let channel = lab.open();
    assert_eq!(seqs(&peek(&channel, "main")), waiting);
    assert_eq!(seqs(&drain(&channel, "main")), waiting);
}

#[test]
fn p9_a_lowered_limit_holds_once_the_backlog_is_gone_and_a_raised_one_at_once() {
    let large = 16 << 20;
    let lab = Lab::new(6).with(plain().bytes_max(large));
    let channel = lab.open();
    let mut id = 1;
    while channel.stats().segments_live < 5 {
        put(&channel, id..id + 40).expect("room");
        id += 40;
    }
    drop(channel);
    let lab = lab.with(plain());
    let channel = lab.open();
    assert_eq!(channel.stats().bytes_max, LIMIT);
    // What the active segment has room for is allocated already.
    let allocated = lab.allocated_bytes();
    while put(&channel, [id]).is_ok() {
        id += 1;
    }
    assert_eq!(lab.allocated_bytes(), allocated, "above the limit, and more");
    let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (1..id).collect::<Vec<_>>());
    lab.idle(&channel);
    lab.idle(&channel);
    put(&channel, [id]).expect("room again");
    // The checkpoints of the larger channel are longer; they are the channel's own as well.
    within(&lab);
    drop(channel);
    let lab = lab.with(plain().bytes_max(large));
    let channel = lab.open();
    let receipt = put(&channel, id + 1..id + 40).expect("room");
    assert_eq!(peek(&channel, "main").len() as u64, 1 + receipt.events);
    for n in 0..100 {
        put(&channel, id + 40 * (n + 1)..id + 40 * (n + 2)).expect("more than before");
    }
}

#[test]
fn p9_the_event_limit_refuses_and_gives_way() {
    let lab = Lab::new(7).with(plain().events_max(10).cursor("main").cursor("second"));
    let channel = lab.open();
    put(&channel, 1..9).expect("eight");
    let error: Error = put(&channel, 9..12).expect_err("eleven");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("8 of 10 events"), "{error}");
    put(&channel, 9..11).expect("ten");
    ack(&channel, "main", 10);
    assert_eq!(put(&channel, [11]).expect_err("second").kind(), ErrorKind::Full);
    ack(&channel, "second", 1);
    put(&channel, [11]).expect("room for one");
    drop(channel);
    let channel = lab.with(plain()).open();
    assert_eq!(channel.stats().events_max, 10, "kept");
    assert_eq!(put(&channel, [12]).expect_err("full").kind(), ErrorKind::Full);
}

#[test]
fn p9_what_is_too_large_is_refused_before_anything_is_written() {
    let lab = Lab::new(8).with(plain());
    let channel = lab.open();
    let most = channel.limits();
    let mut put = channel.put_transaction();
    assert_eq!(
        put.put(&vec![1; most.event_bytes + 1]).expect_err("too large").kind(),
        ErrorKind::EventTooLarge
    );
    put.put(&vec![1; most.event_bytes]).expect("the largest one");
    assert_eq!(put.put(b"").expect_err("no room").kind(), ErrorKind::TransactionTooLarge);
    put.commit().expect("room");
    let mut put = channel.put_transaction();
    let mut count = 0;
    while put.put(b"").is_ok() {
        count += 1;
    }
    assert_eq!(count * 2, most.transaction_bytes);
    put.commit().expect("room");
    let mut take = channel.take_transaction("main").expect("a take");
    let taken = take.take_many(usize::MAX, usize::MAX).expect("events");
    assert_eq!(taken.len(), 1 + count);
    assert_eq!(taken[0].bytes.len(), most.event_bytes);
}

#[test]
fn p8_a_take_with_no_bytes_to_spare_gets_one_event_and_a_take_of_none_gets_none() {
    let lab = Lab::new(12);
    let channel = lab.open();
    put(&channel, 1..4).expect("room");
    let mut take = channel.take_transaction("main").expect("a take");
    for seq in 1..4 {
        let taken = take.take_many(5, 0).expect("events");
        assert_eq!(taken.iter().map(|taken| taken.seq).collect::<Vec<_>>(), [seq]);
        assert!(take.take_many(0, usize::MAX).expect("events").is_empty());
    }
    assert!(take.take_many(5, 0).expect("events").is_empty());
}

#[test]
fn p8_as_many_cursors_as_there_may_be_each_see_everything_once() {
    for (bytes_max, cursors) in [(LIMIT, 8), (16 << 20, 64)] {
        let lab = Lab::new(9).with(plain().bytes_max(bytes_max));
        let channel = lab.open();
        put(&channel, 1..5).expect("room");
        let names: Vec<String> = (1..cursors).map(|n| format!("cursor-{n}")).collect();
        for name in &names {
            channel.add_cursor(name, CursorStart::Oldest).expect("it can be made");
        }
        let error = channel.add_cursor("one-more", CursorStart::Next).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::LimitReached);
        put(&channel, 5..9).expect("room");
        for (n, name) in names.iter().enumerate() {
            assert_eq!(ack(&channel, name, n % 9).len(), n % 9);
        }
        drop(channel);
        let channel = lab.open();
        for (n, name) in names.iter().enumerate() {
            assert_eq!(peek(&channel, name).len(), 8 - n % 9, "{name}");
        }
        channel.remove_cursor("cursor-1").expect("it is there");
        channel.add_cursor("one-more", CursorStart::Next).expect("there is room");
        assert!(peek(&channel, "one-more").is_empty());
    }
}

#[test]
fn p9_a_full_disk_refuses_puts_and_they_go_on_when_it_has_room() {
    let lab = Lab::new(10).with(plain());
    let channel = lab.open();
    put(&channel, [1]).expect("room");
    lab.fs.set_capacity(lab.allocated_bytes());
    let mut id = 2;
    let refused = loop {
        match put(&channel, [id]) {
            Ok(_) => id += 1,
            Err(error) => break error,
        }
        channel.tend();
    };
    assert!(id < 600, "the disk was never full");
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert!(refused.to_string().contains("the disk is full"), "{refused}");
    drop(channel);
    let channel = lab.open();
    let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (1..id).collect::<Vec<_>>());
    lab.idle(&channel);
    put(&channel, [id]).expect("what was taken is room");
    lab.fs.set_capacity(u64::MAX / 2);
    lab.idle(&channel);
    for n in 1..60 {
        put(&channel, [id + n]).expect("the disk has room again");
    }
}

#[test]
fn p9_a_new_channel_on_a_full_disk_says_so_and_opens_later() {
    let lab = Lab::new(11).with(plain());
    lab.env.fs.create_dir(Path::new(DIR)).expect("room");
    for capacity in (0..400 << 10).step_by(20 << 10) {
        let lab = lab.copy();
        lab.fs.set_capacity(capacity);
        let refused = lab.try_open();
        lab.fs.set_capacity(1 << 40);
        let refused = match refused {
            Err(error) => error,
            Ok(channel) => {
                lab.idle(&channel);
                put(&channel, [1]).expect("room");
                continue;
            }
        };
        let words = refused.to_string();
        assert!(words.contains("full") || words.contains("space"), "{words}");
        assert!(lab.fs.paths().iter().all(|path| path.extension() != Some("new".as_ref())));
        let channel = lab.open();
        put(&channel, [1]).expect("room");
        within(&lab);
    }
}

/// `take` names no limit, and may be the first to come after a power cut.
#[test]
fn p7_p9_a_channel_cut_off_in_the_making_opens_in_the_room_that_it_was_to_have() {
    let lab = Lab::new(13).with(plain());
    lab.env.fs.create_dir(Path::new(DIR)).expect("room");
    lab.fs.set_capacity(LIMIT);
    let mut begun = 0;
    for cut in 0.. {
        let making = lab.copy();
        making.fs.crash_at(making.fs.ops() + cut);
        let made = making.try_open().is_ok();
        for survive in [Survive::Nothing, Survive::Everything] {
            let left = making.on(making.fs.crash(survive));
            // Without a segment it is a new channel, which has the limit that it is given.
            if left.segments().is_empty() {
                continue;
            }
            begun += 1;
            let nameless = Options::new().background(Background::Manual);
            let opened = left.with(nameless).try_open();
            let channel = opened.unwrap_or_else(|error| panic!("cut {cut}, {survive:?}: {error}"));
            put(&channel, [1]).expect("room");
            assert_eq!(channel.stats().bytes_max, LIMIT, "cut {cut}, {survive:?}");
        }
        if made {
            break;
        }
    }
    assert!(begun > 10, "{begun}");
}

#[test]
fn p9_all_of_it_in_the_weaker_classes() {
    for sync in [SyncClass::Os, SyncClass::Interval(Duration::from_millis(100))] {
        let lab = Lab::new(12).with(options(sync));
        let channel = lab.open();
        let mut id = 1;
        for _ in 0..5 {
            let from = id;
            while put(&channel, [id]).is_ok() {
                id += 1;
                within(&lab);
            }
            assert!(id > from + 100);
            for cursor in ["main", "second"] {
                let seen: Vec<u64> = drain(&channel, cursor).iter().map(|(_, id)| *id).collect();
                assert_eq!(seen, (from..id).collect::<Vec<_>>());
            }
            within(&lab);
        }
        assert!(event(3).len() > 8);
    }
}

#[test]
fn p6_a_new_cursor_passes_what_was_reclaimed_behind_a_held_event_without_a_loss() {
    let lab = Lab::new(8).with(plain());
    let channel = lab.open();
    put(&channel, 1..20).expect("there is room");
    // Its segment stays; those behind it go as they are acknowledged.
    let mut held = channel.take_transaction("main").expect("a take");
    assert_eq!(held.take().expect("an event").expect("the first one").seq, 1);
    let mut id = 20;
    while lab.inspect().segments.iter().all(|segment| segment.id < 12) {
        put(&channel, id..id + 10).expect("there is room");
        id += 10;
        drain(&channel, "main");
        channel.tend();
    }
    put(&channel, id..id + 10).expect("there is room");
    // Opened again, so that nothing is read from memory.
    drop((held, channel));
    let channel = lab.open();
    // A cursor that begins at the oldest event finds what is there, and nothing is lost.
    let late = peek(&channel, "late");
    assert!(late.iter().any(|(_, late)| *late == 1), "{late:?}");
    assert!((id..id + 10).all(|id| late.iter().any(|(_, late)| *late == id)), "{late:?}");
    channel.tend();
    assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
}

#[test]
fn p7_p9_open_transactions_do_not_pass_the_limits_of_the_tables_together() {
    let lab = Lab::new(1).with(plain());
    let channel = lab.open();
    // Each of them alone has room for its position.
    let open: Vec<_> = (0..100)
        .map(|number| {
            let mut put = channel.put_transaction();
            put.put(&event(1)).expect("it fits");
            let room = put.set_position(&format!("source {number}"), &[1; 1900]);
            (put, room)
        })
        .filter(|(_, room)| room.is_ok())
        .collect();
    for (put, _) in open {
        if let Err(error) = put.commit() {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::LimitReached | ErrorKind::Full), "{error}");
        }
    }
    lab.idle(&channel);
    channel.close();
    lab.open().close();
}

#[test]
fn p4_p7_p9_open_transactions_do_not_bring_in_more_producers_than_there_may_be() {
    let lab = Lab::new(1).with(plain());
    let channel = lab.open();
    let name = |number: u64| format!("{number:0300}");
    let open: Vec<_> = (1..100)
        .map(|number| {
            let mut put = channel.put_transaction();
            put.put(&event(number)).expect("it fits");
            put.set_producer(&name(number), 1).expect("alone it has room");
            (number, put)
        })
        .collect();
    let mut known = 0;
    for (number, put) in open {
        match put.commit() {
            Ok(_) => known = number,
            Err(error) => assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}"),
        }
    }
    assert!((3..50).contains(&known), "{known}");
    // Those that are known go on; of a refused one nothing is there.
    let mut again = channel.put_transaction();
    again.put(&event(200)).expect("it fits");
    again.set_producer(&name(1), 2).expect("it is known");
    again.commit().expect("it is known");
    let expected: Vec<u64> = (1..=known).chain([200]).collect();
    lab.idle(&channel);
    drop(channel);
    let seen: Vec<u64> = peek(&lab.open(), "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, expected);
}

/// They stand in line while the channel is full, and go into one block when it has room.
#[test]
fn p4_p9_of_puts_in_one_block_only_the_one_that_passes_a_limit_is_refused() {
    let lab = Lab::new(1).with(plain());
    let channel = lab.open();
    fill(&lab, &channel, 1);
    let in_line = |id: u64, position: Option<&str>, producer: Option<u64>| {
        let mut put = channel.put_transaction();
        put.set_wait(Duration::from_secs(3600));
        put.put(&event(id)).expect("it fits");
        if let Some(key) = position {
            put.set_position(key, &[1; 1500]).expect("alone it has room");
        }
        if let Some(sequence) = producer {
            put.set_producer("producer", sequence).expect("there is room");
        }
        put.commit_async()
    };
    let first = in_line(10_001, Some("a"), None);
    let refused = in_line(10_002, Some("b"), Some(1));
    let behind = in_line(10_003, None, Some(2));
    let last = in_line(10_004, None, None);
    let mut seen = drain(&channel, "main");
    lab.idle(&channel);
    first.wait().expect("it was the first");
    assert_eq!(refused.wait().expect_err("no room").kind(), ErrorKind::LimitReached);
    assert_eq!(behind.wait().expect_err("too early").kind(), ErrorKind::OutOfSequence);
    last.wait().expect("it has no position");
    let early = in_line(10_003, None, Some(2)).wait().expect_err("still too early");
    assert_eq!(early.kind(), ErrorKind::OutOfSequence);
    in_line(10_002, None, Some(1)).wait().expect("without a position it fits");
    in_line(10_003, None, Some(2)).wait().expect("now it is its turn");
    seen.extend(drain(&channel, "main"));
    let seen: Vec<u64> = seen.iter().map(|(_, id)| *id).filter(|id| *id > 10_000).collect();
    assert_eq!(seen, [10_001, 10_004, 10_002, 10_003]);
    assert_eq!(channel.position("b"), None);
    let shrinks = in_line(10_005, Some("a"), None);
    shrinks.wait().expect("what is there is replaced");
}

#[test]
fn p4_p9_a_take_whose_state_has_no_room_any_more_is_as_if_rolled_back() {
    let lab = Lab::new(1).with(plain().cursor("main").cursor("second"));
    let channel = lab.open();
    put(&channel, 1..11).expect("there is room");
    let open = ["main", "second"].map(|cursor| {
        let mut take = channel.take_transaction(cursor).expect("a take");
        assert_eq!(take.take_many(4, usize::MAX).expect("events").len(), 4);
        take.set_state(&[7; 1500]).expect("alone it has room");
        take
    });
    let [main, second] = open;
    main.commit().expect("it was the first");
    assert_eq!(second.commit().expect_err("no room").kind(), ErrorKind::LimitReached);
    assert_eq!(peek(&channel, "main").len(), 6);
    assert_eq!(peek(&channel, "second").len(), 10, "they come again");
    let mut take = channel.take_transaction("second").expect("a take");
    assert_eq!(take.take_many(4, usize::MAX).expect("events").len(), 4);
    take.set_state(&[8; 500]).expect("there is room");
    take.commit().expect("a shorter one");
    assert_eq!(ack(&channel, "second", 2).len(), 2);
    drop(channel);
    let channel = lab.open();
    assert_eq!((peek(&channel, "main").len(), peek(&channel, "second").len()), (6, 4));
    let stats = channel.stats();
    assert!(stats.cursors.iter().all(|cursor| cursor.in_flight == 0), "{stats:?}");
}

/// More than a State tells one by one to the cursors that are there.
#[test]
fn p6_what_many_damaged_blocks_cost_is_told_once_however_many_cursors_come_by() {
    let lab = Lab::new(3).with(plain().cursor("main").cursor("second"));
    let channel = lab.open();
    for id in 1..=110 {
        put(&channel, [id]).expect("there is room");
    }
    lab.idle(&channel);
    drop(channel);
    let mut lost = BTreeSet::new();
    for path in lab.segments() {
        let found = blocks(&lab.fs.read_file(&path));
        for block in found.iter().filter(|block| block.has(PUT) && block.seqs.0 % 3 == 0) {
            if block.seqs.0 < 108 {
                lab.fs.flip_bit(&path, block.offset + 100, 3);
                lost.insert(block.seqs.0);
            }
        }
    }
    assert!(lost.len() > 30, "{lost:?}");
    lab.fs.drop_cache();
    let mut channel = lab.open();
    let expected: BTreeSet<u64> = (1..=110).filter(|seq| !lost.contains(seq)).collect();
    for reopen in [false, true] {
        for cursor in ["main", "second", "late", "later"] {
            assert_eq!(seqs(&peek(&channel, cursor)), expected, "{cursor}");
            lab.idle(&channel);
            let stats = channel.stats();
            let told = (stats.losses, stats.lost_events);
            assert_eq!(told, (lost.len() as u64, lost.len() as u64), "{cursor}, {reopen}");
        }
        drop(channel);
        channel = lab.open();
    }
    for cursor in ["main", "second", "late", "later"] {
        assert_eq!(seqs(&drain(&channel, cursor)), expected, "{cursor}");
    }
    lab.idle(&channel);
    assert_eq!(channel.stats().segments_live, 1);
    assert_eq!(channel.stats().losses, lost.len() as u64);
}

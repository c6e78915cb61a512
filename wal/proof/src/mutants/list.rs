//! The ways to break the engine, and the tests that each must turn red.

use super::{Mutant, Suite};

/// The mutants, those of the gate first.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "skip-directory-sync",
        what: "a new or recycled segment is used without a sync of the directory",
        edits: &[
            (
                "wal/src/segment.rs",
                "        env.fs.sync_dir(dir)?;\n        Ok(file)",
                "        Ok(file)",
            ),
            (
                "wal/src/segment.rs",
                "    env.fs.sync_dir(dir)?;\n    spare.file = Some(file);",
                "    spare.file = Some(file);",
            ),
        ],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "publish-before-sync",
        what: "takers see a put before its block is written and synced",
        edits: &[
            (
                "wal/src/group_commit.rs",
                "        if let Err(error) = self.append(log, &body, next_seq) {",
                "        let wake = self.publish(&group, &puts);\n        if let Err(error) = self.append(log, &body, next_seq) {",
            ),
            (
                "wal/src/group_commit.rs",
                "        let wake = self.publish(&group, &puts);\n        Ok(Done",
                "        Ok(Done",
            ),
        ],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "forget-the-salt",
        what: "a block of the right segment id and place is believed whatever its salt",
        edits: &[(
            "wal/src/block.rs",
            "    if (header.segment, header.salt) != (owner.segment, owner.salt) {",
            "    if header.segment != owner.segment {",
        )],
        suite: Suite::It,
        killers: &[
            "stale::p2_blocks_of_another_channel_in_the_same_place_are_not_taken_for_this_ones",
        ],
    },
    Mutant {
        name: "retry-failed-sync",
        what: "a sync that failed is called again on the same file, and believed",
        edits: &[(
            "wal/src/log.rs",
            "        if sync {\n            self.file.sync_data()?;",
            "        if sync {\n            self.file.sync_data().or_else(|_| self.file.sync_data())?;",
        )],
        suite: Suite::It,
        killers: &["flume_probes::p10_no_file_is_touched_again_after_its_sync_failed"],
    },
    Mutant {
        name: "acknowledge-before-write",
        what: "commits are answered before their block is written",
        edits: &[
            (
                "wal/src/group_commit.rs",
                "        if let Err(error) = self.append(log, &body, next_seq) {",
                "        self.acknowledge(&group, &puts);\n        if let Err(error) = self.append(log, &body, next_seq) {",
            ),
            (
                "wal/src/group_commit.rs",
                "            for slot in group.slots() {\n                slot.complete(Err(error.again()));\n            }\n            return Err(error);",
                "            return Err(error);",
            ),
        ],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "reclaim-one-early",
        what: "the oldest segment is given up although some cursor still needs its last event",
        edits: &[(
            "wal/src/roll.rs",
            "            || state.needs(held)",
            "            || state.needs(SeqRange::new(held.start, held.end.max(held.start + 1) - 1))",
        )],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "drop-ack-range-end",
        what: "the last seq of an acknowledged range is forgotten in the log",
        edits: &[(
            "wal/src/record.rs",
            "        out.put_u64(range.end);",
            "        out.put_u64(range.end - u64::from(range.len() > 1));",
        )],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "trust-bad-checkpoint",
        what: "a checkpoint whose checksum is bad is believed if it can be decoded",
        edits: &[(
            "wal/src/checkpoint.rs",
            "        if crc(body) != body_crc {",
            "        if crc(body) != body_crc && body.is_empty() {",
        )],
        suite: Suite::It,
        killers: &["evidence::p6_p11_a_checkpoint_with_any_flipped_bit_is_as_none"],
    },
    Mutant {
        name: "ignore-short-write",
        what: "a write that the system cut short counts as done",
        edits: &[(
            "wal/src/fs/mod.rs",
            "                IoSlice::advance_slices(&mut rest, n);",
            "                IoSlice::advance_slices(&mut rest, n);\n                if rest.len() <= BUFS_MAX {\n                    return Ok(());\n                }",
        )],
        suite: Suite::It,
        killers: &["failures::p10_one_short_write_loses_nothing"],
    },
    Mutant {
        name: "reuse-a-seq",
        what: "an open hands out the seqs again that a weaker class may have handed out before",
        edits: &[(
            "wal/src/open.rs",
            "    if state.seq_reserved > state.next_seq {",
            "    if state.seq_reserved > state.next_seq && state.seq_reserved == 0 {",
        )],
        suite: Suite::It,
        killers: &["classes::p2_p3_p4_a_power_cut_takes_what_was_not_synced_and_nothing_else"],
    },
    Mutant {
        name: "keep-generation",
        what: "an open goes on in the old generation, so that old blocks behind a cut are not void",
        edits: &[("wal/src/open.rs", "    log.new_generation();\n", "")],
        suite: Suite::It,
        killers: &["stale::p2_p4_what_was_cut_off_does_not_come_back_behind_what_is_put_later"],
    },
    // Further ones, beside those of the gate.
    Mutant {
        name: "skip-sync",
        what: "commits are acknowledged without a sync",
        edits: &[(
            "wal/src/log.rs",
            "        if sync {\n            self.file.sync_data()?;",
            "        if sync {",
        )],
        suite: Suite::It,
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "believe-the-cache",
        what: "what stands above W is believed from the cache at open",
        edits: &[(
            "wal/src/replay/walk.rs",
            "        Ok(!self.writable || found.header.records == 0",
            "        Ok(self.writable || found.header.records == 0",
        )],
        suite: Suite::It,
        killers: &[],
    },
    Mutant {
        name: "no-void-rule",
        what: "blocks of an ended generation are taken in",
        edits: &[(
            "wal/src/replay/mod.rs",
            "        later.into_iter().any(|(_, &first)| first < lsn)",
            "        later.into_iter().any(|(_, &first)| first == 0 && first < lsn)",
        )],
        suite: Suite::It,
        killers: &[],
    },
    Mutant {
        name: "keep-the-salt",
        what: "a recycled segment keeps the salt of its earlier lap",
        edits: &[(
            "wal/src/segment.rs",
            "    old: &mut Segment,\n) -> io::Result<Segment> {\n    let salt = env.random_u64();",
            "    old: &mut Segment,\n) -> io::Result<Segment> {\n    let salt = old.salt;",
        )],
        suite: Suite::It,
        killers: &["crash::p6_every_lap_of_a_segment_has_a_salt_of_its_own"],
    },
    Mutant {
        name: "recycle-before-state",
        what: "a segment is recycled before the State that leaves it out is synced",
        edits: &[(
            "wal/src/roll.rs",
            "        if let Err(error) = log.append(&self.env, &body, log.next_seq, true) {",
            "        if let Err(error) = log.append(&self.env, &body, log.next_seq, false) {",
        )],
        suite: Suite::It,
        killers: &[],
    },
    // Of group commit and of what is written ahead.
    Mutant {
        name: "tell-before-publish",
        what: "commits are answered before takers can see their events",
        edits: &[(
            "wal/src/group_commit.rs",
            "        let wake = self.publish(&group, &puts);",
            "        self.acknowledge(&group, &puts);\n        let wake = self.publish(&group, &puts);",
        )],
        suite: Suite::It,
        killers: &["together::p5_whoever_hears_of_a_commit_finds_its_events"],
    },
    Mutant {
        name: "call-without-the-gate",
        what: "a crowd is called while somebody is between its look and its sleep",
        edits: &[("wal/src/signal.rs", "        drop(lock(&self.gate));\n", "")],
        suite: Suite::Schedules,
        killers: &["crowds::p1_p3_p5_everybody_in_a_crowd_hears_of_their_own_commit"],
    },
    Mutant {
        name: "ask-the-crowd-to-lead",
        what: "a thread that waits in a crowd, and hears only of outcomes, is asked to lead",
        edits: &[(
            "wal/src/queue.rs",
            "            .find(|slot| !slot.is_in_crowd())",
            "            .next()",
        )],
        suite: Suite::Schedules,
        killers: &["crowds::p1_p3_p5_everybody_in_a_crowd_hears_of_their_own_commit"],
    },
    Mutant {
        name: "take-the-spare-at-work",
        what: "the log goes on in a spare that zeroes are on their way to",
        edits: &[(
            "wal/src/roll.rs",
            "        while segments.ahead.is_some() && segments.ahead == segments.next_spare(above) {",
            "        while segments.ahead.is_some() && segments.next_spare(above).is_none() {",
        )],
        suite: Suite::Schedules,
        killers: &["crowds::p1_p6_the_log_goes_on_in_spares_that_are_being_written_ahead"],
    },
    Mutant {
        name: "count-acks-twice",
        what: "acknowledgements of a group make twice the room under the event limit",
        edits: &[(
            "wal/src/group_commit.rs",
            ".saturating_sub(acked)",
            ".saturating_sub(2 * acked)",
        )],
        suite: Suite::It,
        killers: &[
            "together::p9_acknowledgements_make_room_under_the_event_limit_for_the_puts_of_their_block",
        ],
    },
    Mutant {
        name: "count-discarded-acks",
        what: "acknowledgements of what was discarded make room under the event limit",
        edits: &[("wal/src/group_commit.rs", "cursor.acked.missing_in(*range))", "[*range])")],
        suite: Suite::It,
        killers: &[
            "together::p9_acknowledgements_of_events_that_were_discarded_make_no_room_a_second_time",
        ],
    },
    Mutant {
        name: "wait-by-a-still-clock",
        what: "a leader waits for company until the time is over, though no time passes",
        edits: &[("wal/src/company.rs", " || stood == LOOKS_MOST", "")],
        suite: Suite::It,
        killers: &["together::p3_a_leader_waits_for_nobody_on_a_clock_that_stands_still"],
    },
    Mutant {
        name: "overwrite-the-whole-checkpoint",
        what: "a checkpoint goes over the only one that is synced",
        edits: &[(
            "wal/src/checkpoint.rs",
            "        self.next = checkpoint.number + 2;",
            "        self.next = checkpoint.number + 1;",
        )],
        suite: Suite::Units,
        killers: &[
            "checkpoint::tests::p11_after_a_failed_write_the_other_checkpoint_is_the_whole_one_and_stays",
        ],
    },
    Mutant {
        name: "sync-a-torn-checkpoint",
        what: "a checkpoint whose write failed counts as written",
        edits: &[(
            "wal/src/checkpoint.rs",
            "        self.unsynced = false;\n        write_all_at(",
            "        write_all_at(",
        )],
        suite: Suite::Units,
        killers: &[
            "checkpoint::tests::p11_after_a_failed_write_the_other_checkpoint_is_the_whole_one_and_stays",
        ],
    },
    Mutant {
        name: "join-sums-wrongly",
        what: "the sum of a record's head is joined behind that of its payload",
        edits: &[(
            "wal/src/record.rs",
            "before.then_bytes(&header).then_known(&payload, known)",
            "before.then_known(&payload, known).then_bytes(&header)",
        )],
        suite: Suite::Units,
        killers: &["block::tests::a_body_is_read_as_it_was_gathered"],
    },
];

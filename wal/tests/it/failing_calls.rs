//! The n-th call of each kind fails, for all n, once and from then on, with every fault that means
//! something to it, in every class: nothing acknowledged is lost, nothing is acknowledged falsely.

use std::time::Duration;

use forebay_wal::fs::sim::{Call, SimFs, Survive};
use forebay_wal::{Condition, ErrorKind, SyncClass};

use forebay_proof::lab::{drain, put};

use crate::story::{After, Story};

/// Two reopenings, several rolls, a few recycled segments.
const STEPS: u64 = 85;

const INTERVAL: SyncClass = SyncClass::Interval(Duration::from_millis(100));

/// How many calls of that kind the life makes when nothing fails.
fn calls(sync: SyncClass, call: Call) -> u64 {
    let mut story = Story::begin(sync);
    let before = story.lab.fs.calls(call);
    story.live(STEPS);
    assert_eq!((story.told.failed, story.told.in_doubt, story.told.unopened), (0, 0, 0));
    story.lab.fs.calls(call) - before
}

/// What is found when the process ends here, or the power is cut.
fn check_ends(what: &str, story: &Story, seed: u64) {
    for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(seed)] {
        let cut = story.lab.on(story.lab.fs.image(survive));
        story.check(&format!("{what}, {survive:?}"), &cut.open(), After::PowerCut);
        let bytes = cut.allocated_bytes();
        assert!(bytes <= 1 << 20, "{what}, {survive:?}: {bytes} bytes");
    }
    let killed = story.lab.on(story.lab.fs.kill());
    let channel = killed.open();
    story.check(&format!("{what}, killed"), &channel, After::Kill);
    assert!(killed.allocated_bytes() <= 1 << 20, "{what}");
    // It goes on, and what it gives out was never given out before.
    drain(&channel, "main");
    killed.idle(&channel);
    let receipt = put(&channel, [888_888]).expect(what);
    assert!(!story.told.put.contains_key(&receipt.first_seq), "{what}: a seq again");
    assert_eq!(drain(&channel, "main"), [(receipt.first_seq, 888_888)], "{what}");
}

fn once(sync: SyncClass) {
    for call in Call::ALL {
        let all = calls(sync, call);
        for fault in call.faults() {
            for n in 0..all {
                let what = format!("{sync:?}: {call:?} {n} of {all} with {fault:?}");
                let mut story = Story::begin(sync);
                story.lab.fs.fail_nth(call, n, *fault);
                story.live(STEPS);
                let told = &story.told;
                assert_eq!((told.in_doubt, told.failed), (0, 0), "{what}: one failure");
                assert!(told.unopened + told.unread <= 1, "{what}");
                let channel = story.channel.take().expect("it opened at the second try");
                assert_eq!(channel.stats().condition, Condition::Open, "{what}");
                story.check(&what, &channel, After::Nothing);
                if told_of_no_trouble_at_open(&story) {
                    let losses = channel.stats().recent_losses;
                    assert!(losses.is_empty(), "{what}: {losses:?}");
                }
                assert!(story.lab.allocated_bytes() <= 1 << 20, "{what}");
                drop(channel);
                check_ends(&what, &story, n);
            }
        }
    }
}

/// A writer that lives through a failure loses nothing in any class. One that opens cannot know
/// what a failed sync has left of another one's unsynced events.
fn told_of_no_trouble_at_open(story: &Story) -> bool {
    story.told.unopened == 0
}

#[test]
fn p1_p4_p10_the_nth_call_of_each_kind_fails_once_in_class_commit() {
    once(SyncClass::Commit);
}

#[test]
fn p4_p10_the_nth_call_of_each_kind_fails_once_in_class_interval() {
    once(INTERVAL);
}

#[test]
fn p4_p10_the_nth_call_of_each_kind_fails_once_in_class_os() {
    once(SyncClass::Os);
}

/// All calls of a kind fail from one on, until the disk is well again.
fn from_then_on(sync: SyncClass) {
    for call in Call::ALL {
        let all = calls(sync, call);
        for fault in call.faults() {
            for n in 0..all {
                let what = format!("{sync:?}: {call:?} from {n} of {all} on with {fault:?}");
                let mut story = Story::begin(sync);
                story.lab.fs.fail_nth_and_later(call, n, *fault);
                story.live(STEPS);
                assert!(story.told.in_doubt <= 1, "{what}: {:?}", story.told);
                story.lab.fs.heal();
                healed(&what, &mut story);
                check_ends(&what, &story, n);
            }
        }
    }
}

/// The disk is well again: a channel that failed says so and ends; any other goes on by itself.
fn healed(what: &str, story: &mut Story) {
    let Some(channel) = story.channel.take() else { return };
    if channel.stats().condition == Condition::Failed {
        assert_eq!(put(&channel, [777_777]).expect_err(what).kind(), ErrorKind::Failed);
        assert_eq!(channel.take_transaction("main").expect_err(what).kind(), ErrorKind::Failed);
        return;
    }
    assert_eq!((story.told.in_doubt, story.told.failed), (0, 0), "{what}: and it goes on?");
    story.check(what, &channel, After::Nothing);
    for (_, id) in drain(&channel, "main") {
        story.told.acked.insert(id);
    }
    story.lab.idle(&channel);
    let receipt = put(&channel, [777_777]).expect(what);
    assert_eq!(story.told.put.insert(receipt.first_seq, 777_777), None, "{what}");
    story.lab.idle(&channel);
}

#[test]
fn p1_p4_p10_all_calls_of_a_kind_fail_from_the_nth_on_in_class_commit() {
    from_then_on(SyncClass::Commit);
}

#[test]
fn p4_p10_all_calls_of_a_kind_fail_from_the_nth_on_in_class_interval() {
    from_then_on(INTERVAL);
}

#[test]
fn p4_p10_all_calls_of_a_kind_fail_from_the_nth_on_in_class_os() {
    from_then_on(SyncClass::Os);
}

/// A life that ended in a power cut in the middle of something, so that the next open has a torn
/// end to settle, segments to recycle, a new generation to begin.
fn cut_short(sync: SyncClass, seed: u64) -> Story {
    let mut story = Story::begin(sync);
    story.live(30 + 7 * seed);
    story.lab.fs.crash_at(story.lab.fs.ops() + 1 + seed);
    story.live_until_the_crash();
    story.channel = None;
    story.lab = story.lab.on(story.lab.fs.crash(Survive::Seed(seed)));
    story
}

/// Opens with this plan; then what is there is right, whether it opened or not, and stays so.
fn open_with(what: &str, story: &Story, plan: impl Fn(&SimFs)) {
    let lab = story.lab.on(story.lab.fs.image(Survive::Everything));
    plan(&lab.fs);
    let opened = lab.try_open();
    let failed = opened.is_err();
    match opened {
        Ok(channel) => {
            lab.fs.heal();
            story.check(what, &channel, After::PowerCut);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}"),
    }
    lab.fs.heal();
    for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(3)] {
        let cut = lab.on(lab.fs.image(survive));
        story.check(&format!("{what}, then {survive:?}"), &cut.open(), After::PowerCut);
        assert!(cut.allocated_bytes() <= 1 << 20, "{what}");
    }
    if failed {
        // The same process may try again: nothing of the failed one is in its way.
        let channel = lab.try_open().expect(what);
        story.check(&format!("{what}, then again"), &channel, After::PowerCut);
        put(&channel, [777_777]).expect(what);
    }
}

fn open_and_fail(sync: SyncClass) {
    for seed in 0..4 {
        let story = cut_short(sync, seed);
        let trial = story.lab.copy();
        drop(trial.open());
        for call in Call::ALL {
            let all = trial.fs.calls(call);
            for fault in call.faults() {
                for n in 0..all {
                    let what = format!("{sync:?}, {seed}: open, {call:?} {n} of {all}, {fault:?}");
                    open_with(&what, &story, |fs| fs.fail_nth(call, n, *fault));
                    let what = format!("{what}, and from then on");
                    open_with(&what, &story, |fs| fs.fail_nth_and_later(call, n, *fault));
                }
            }
        }
    }
}

#[test]
fn p1_p7_p10_the_nth_call_of_each_kind_fails_while_it_opens_after_a_power_cut() {
    open_and_fail(SyncClass::Commit);
}

#[test]
fn p7_p10_the_nth_call_of_each_kind_fails_while_it_opens_in_the_weaker_classes() {
    open_and_fail(INTERVAL);
    open_and_fail(SyncClass::Os);
}

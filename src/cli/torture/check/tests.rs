//! Logs as a sound channel leaves them, and the same with something planted in them.

use super::super::event::{event, sum_of};
use super::super::line::{Line, Op, Sight};
use super::Checker;

/// The size that all events here follow from.
const LONGEST: u32 = 40;

fn op(text: &str) -> Op {
    text.parse().expect("it is an operation's number")
}

/// `3@1.1.2/0` is seq 3, which is event 0 of put 1.1.2.
fn sight(text: &str) -> Sight {
    let (seq, rest) = text.split_once('@').expect("it has an @");
    let (put, index) = rest.split_once('/').expect("it has a slash");
    let (seq, index) = (seq.parse().expect("a number"), index.parse().expect("a number"));
    let put = op(put);
    Sight { seq, put, index, sum: sum_of(&event(put, index, LONGEST)) }
}

/// One life, line by line. `kill` ends a process; lines that name events do it as [`sight`] says; a put
/// is `put OP EVENTS [FLAGS] [PRODUCER SEQUENCE]`, where the flags are `position` and `patient`.
fn check(log: &str) -> Checker {
    let mut checker = Checker::new(&["main", "second"]);
    let mut round = 1;
    checker.begin(round);
    for text in log.lines().map(str::trim).filter(|text| !text.is_empty()) {
        let mut words = text.split(' ');
        match words.next().expect("it is not empty") {
            "kill" => {
                checker.end();
                round += 1;
                checker.begin(round);
            }
            "saw" => checker.line(&Line::Saw(words.map(sight).collect())),
            "took" => {
                let take = op(words.next().expect("a take"));
                checker.line(&Line::Took(take, words.map(sight).collect()));
            }
            "put" => {
                let (put, events) = (words.next().expect("a put"), words.next().expect("a number"));
                let rest: Vec<&str> = words.collect();
                let flag = |flag| u8::from(rest.contains(&flag));
                let producer: Vec<&str> = rest
                    .iter()
                    .copied()
                    .filter(|word| !["position", "patient"].contains(word))
                    .collect();
                let text = format!(
                    "put {put} {events} {LONGEST} {} {} {}",
                    flag("position"),
                    flag("patient"),
                    producer.join(" ")
                );
                checker.line(&text.parse().expect("it is a line"));
            }
            _ => checker.line(&text.parse().expect("it is a line")),
        }
    }
    checker
}

#[track_caller]
fn fine(log: &str) {
    let checker = check(log);
    let (found, _) = checker.found();
    assert!(found.is_empty(), "{found:#?}");
}

/// Exactly that promise is broken, in words that contain these.
#[track_caller]
fn red(log: &str, promise: &str, words: &str) {
    let checker = check(log);
    let (found, count) = checker.found();
    assert!(count > 0, "nothing was found");
    for violation in found {
        assert_eq!(violation.promise, promise, "{found:#?}");
    }
    assert!(found.iter().any(|violation| violation.text.contains(words)), "{found:#?}");
}

/// Two puts are acknowledged, one is in doubt; a take is acknowledged and one in doubt.
const LIFE: &str = "
    put 0.1.1 2 position
    stored 0.1.1 1 2
    put 0.1.2 3 position
    stored 0.1.2 3 3
    take 7.1.1 main
    took 7.1.1 1@0.1.1/0 2@0.1.1/1
    commit 7.1.1 1
    committed 7.1.1 2
    take 7.1.2 main
    took 7.1.2 3@0.1.2/0 4@0.1.2/1
    commit 7.1.2 1
    put 0.1.3 2 position
    kill
";

fn life_and(rest: &str) -> String {
    format!("{LIFE}\n{rest}")
}

const SECOND: &str = "1@0.1.1/0 2@0.1.1/1 3@0.1.2/0 4@0.1.2/1 5@0.1.2/2";

#[test]
fn what_is_in_doubt_may_be_there_or_not() {
    let state = "state main 7.1.1\nposition 0 0.1.2";
    fine(&life_and(&format!("read main\nsaw 3@0.1.2/0 4@0.1.2/1 5@0.1.2/2\nwhole\n{state}")));
    fine(&life_and("read main\nsaw 5@0.1.2/2\nwhole\nstate main 7.1.2\nposition 0 0.1.2"));
    let all = format!("{SECOND} 6@0.1.3/0 7@0.1.3/1");
    fine(&life_and(&format!("read second\nsaw {all}\nwhole\nstate second -\nposition 0 0.1.3")));
    // A gap in the seqs is none in the events.
    let gap = format!("{SECOND} 16@0.1.3/0 17@0.1.3/1");
    fine(&life_and(&format!("read second\nsaw {gap}\nwhole")));
    let checker = check(&life_and(&format!(
        "read main\nsaw 5@0.1.2/2 6@0.1.3/0 7@0.1.3/1\nwhole\nread second\nsaw {all}\nwhole"
    )));
    let figures = checker.figures();
    assert_eq!((figures.puts_in_doubt, figures.puts_found), (1, 1));
    assert_eq!((figures.takes_in_doubt, figures.takes_found), (1, 1));
    assert_eq!((figures.events_checked, figures.cursors_read), (14, 2));
}

#[test]
fn p1_an_acknowledged_event_is_gone() {
    let wanted = "is not in cursor second";
    red(&life_and("read second\nsaw 3@0.1.2/0 4@0.1.2/1 5@0.1.2/2\nwhole"), "P1", wanted);
    red(&life_and("read second\nsaw 1@0.1.1/0 2@0.1.1/1 3@0.1.2/0 4@0.1.2/1\nwhole"), "P1", wanted);
    red(&life_and("read second\nwhole"), "P1", "seq 1 ");
    // Also later, when the put was in doubt and had been seen.
    let seen = format!("read second\nsaw {SECOND} 6@0.1.3/0 7@0.1.3/1\nwhole\nkill");
    red(&life_and(&format!("{seen}\nread second\nsaw {SECOND}\nwhole")), "P2", "seq 6 ");
}

#[test]
fn p2_half_a_put_is_there() {
    red(&life_and(&format!("read second\nsaw {SECOND} 6@0.1.3/0\nwhole")), "P2", "seq 7 ");
    red(&life_and(&format!("read second\nsaw {SECOND} 7@0.1.3/1\nwhole")), "P2", "seq 6 ");
    red("put 0.1.1 3\nstored 0.1.1 1 2", "P2", "2 were acknowledged");
}

#[test]
fn p2_half_an_acknowledgement_is_there() {
    red(&life_and("read main\nsaw 4@0.1.2/1 5@0.1.2/2\nwhole"), "P2", "came back");
    red(
        "put 0.1.1 2\nstored 0.1.1 1 2\ntake 7.1.1 main\ntook 7.1.1 1@0.1.1/0 2@0.1.1/1\n\
         commit 7.1.1 0\ncommitted 7.1.1 1",
        "P2",
        "1 were acknowledged",
    );
}

#[test]
fn p2_a_position_or_a_state_does_not_go_with_its_transaction() {
    let read = format!("read second\nsaw {SECOND}\nwhole");
    red(&life_and(&format!("{read}\nposition 0 0.1.3")), "P2", "position p0");
    red(&life_and(&format!("{read}\nposition 0 0.1.1")), "P2", "position p0");
    red(&life_and(&format!("{read}\nposition 0 -")), "P2", "position p0");
    let back = "read main\nsaw 3@0.1.2/0 4@0.1.2/1 5@0.1.2/2\nwhole";
    red(&life_and(&format!("{back}\nstate main 7.1.2")), "P2", "was not acknowledged");
    red(&life_and(&format!("{back}\nstate main -")), "P2", "one was committed");
    let gone = "read main\nsaw 5@0.1.2/2\nwhole";
    red(&life_and(&format!("{gone}\nstate main 7.1.1")), "P2", "a later one");
}

#[test]
fn p2_what_was_refused_or_absent_comes_all_the_same() {
    let refused = "put 0.1.1 1\nfull 0.1.1\ntake 7.1.1 main\ntook 7.1.1 1@0.1.1/0";
    red(refused, "P2", "was refused");
    let late = "put 0.1.1 1\ntake 7.1.1 main\ntook 7.1.1 1@0.1.1/0\nfull 0.1.1";
    red(late, "P2", "was refused");
    let absent = "put 0.1.1 1\nkill\nread main\nwhole\nread main\nsaw 1@0.1.1/0\nwhole";
    red(absent, "P2", "was not there, and now is");
}

#[test]
fn p3_puts_are_not_in_the_order_of_their_commits() {
    let early = "put 0.1.1 1\nstored 0.1.1 5 1\nput 1.1.1 1\nstored 1.1.1 4 1";
    red(early, "P3", "began when seq 5");
    // Both were under way: either may be first, unless one thread had handed both over.
    fine("put 0.1.1 1\nput 1.1.1 1\nstored 0.1.1 5 1\nstored 1.1.1 4 1");
    let swapped = "put 0.1.1 1\nput 0.1.2 1\nstored 0.1.1 5 1\nstored 0.1.2 4 1";
    red(swapped, "P3", "changed places");
    let swapped = "put 0.1.1 1\nput 0.1.2 1\nstored 0.1.2 4 1\nstored 0.1.1 5 1";
    red(swapped, "P3", "changed places");
    let patient = "put 0.1.1 1 patient\nput 0.1.2 1 patient\nkill\nread main\nsaw 1@0.1.2/0\nwhole";
    red(patient, "P3", "before it is not");
    // What nobody waits for any more may give way, and what waits for a time may be refused.
    fine(&patient.replace("\nkill", "\nlet-go 0.1.1\nkill"));
    fine(&patient.replace(" patient", ""));
}

#[test]
fn p3_a_seq_is_used_twice() {
    red("put 0.1.1 2\nput 1.1.1 2\nstored 0.1.1 1 2\nstored 1.1.1 2 2", "P3", "in common");
    red("put 0.1.1 2\nput 1.1.1 2\nstored 0.1.1 2 2\nstored 1.1.1 1 2", "P3", "in common");
    let again = format!("read second\nsaw {SECOND}\nwhole\nput 1.2.1 1\nstored 1.2.1 5 1");
    red(&life_and(&again), "P3", "began when seq 5");
}

#[test]
fn p3_events_come_out_in_another_order() {
    let put = "put 0.1.1 2\nstored 0.1.1 1 2\ntake 7.1.1 main";
    red(&format!("{put}\ntook 7.1.1 2@0.1.1/1 1@0.1.1/0"), "P3", "out of their order");
    red(&format!("{put}\ntook 7.1.1 1@0.1.1/1 2@0.1.1/0"), "P3", "event 1 of 2");
    let read = "put 0.1.1 2\nstored 0.1.1 1 2\nread main\nsaw 2@0.1.1/1 1@0.1.1/0\nwhole";
    red(read, "P3", "out of their order");
}

#[test]
fn p3_what_was_given_back_comes_after_what_is_newer() {
    let returned = "put 0.1.1 3\nstored 0.1.1 1 3\ntake 7.1.1 main\ntook 7.1.1 1@0.1.1/0\n\
                    rollback 7.1.1\nrolled-back 7.1.1\ntake 7.1.2 main\ntook 7.1.2 2@0.1.1/1";
    let later = "take 7.1.3 main\ntook 7.1.3 1@0.1.1/0";
    red(&format!("{returned}\n{later}"), "P3", "got it later");
    // Two takes at the same time: who has it is known only when both have told.
    let both = "put 0.1.1 3\nstored 0.1.1 1 3\ntake 7.1.1 main\ntake 8.1.1 main\n\
                took 8.1.1 2@0.1.1/1\ntook 7.1.1 1@0.1.1/0";
    fine(both);
    // It was put when the take had begun.
    fine(
        "put 0.1.1 1\nput 1.1.1 1\nstored 1.1.1 2 1\ntake 7.1.1 main\nstored 0.1.1 1 1\n\
         took 7.1.1 2@1.1.1/0\ntake 7.1.2 main\ntook 7.1.2 1@0.1.1/0",
    );
}

#[test]
fn p4_what_was_acknowledged_comes_again() {
    let again = "take 7.2.1 main\ntook 7.2.1 1@0.1.1/0";
    red(&life_and(again), "P4", "was acknowledged there");
    red(&life_and("read main\nsaw 1@0.1.1/0 5@0.1.2/2\nwhole"), "P4", "was acknowledged there");
    // The acknowledgement in doubt turned out to count, and then does for ever.
    let settled = "read main\nsaw 5@0.1.2/2\nwhole\ntake 7.2.1 main\ntook 7.2.1 3@0.1.2/0";
    red(&life_and(settled), "P4", "was acknowledged there");
    fine(&life_and("take 7.2.1 second\ntook 7.2.1 1@0.1.1/0"));
}

const NAMED: &str = "put 1.1.1 1 p1 5\nstored 1.1.1 1 1";

#[test]
fn p4_a_repeat_is_put_twice() {
    fine(&format!("{NAMED}\nput 1.1.2 1 p1 5\nsame 1.1.2\nsequence p1 5"));
    red(&format!("{NAMED}\nput 1.1.2 1 p1 5\nstored 1.1.2 2 1"), "P4", "both as sequence 5");
    let seen = "take 7.1.1 main\ntook 7.1.1 1@1.1.1/0 2@1.1.2/0";
    red(&format!("{NAMED}\nput 1.1.2 1 p1 5\nsame 1.1.2\n{seen}"), "P4", "repeated another one");
    red(&format!("{NAMED}\nput 1.1.2 1 p1 5\n{seen}\nsame 1.1.2"), "P4", "");
    red(
        &format!("{NAMED}\nput 1.1.2 1 p1 4\nstored 1.1.2 2 1"),
        "P4",
        "4 and 5 of p1 changed places",
    );
    let swapped = "put 1.1.1 1 p1 4\nput 1.1.2 1 p1 5\nstored 1.1.2 1 1\nstored 1.1.1 2 1";
    red(&swapped.replace("1.1.1", "2.1.1"), "P4", "4 and 5 of p1 changed places");
    // Which of two is told of first says nothing.
    fine("put 1.1.1 1 p1 4\nput 1.1.2 1 p1 5\nstored 1.1.2 2 1\nstored 1.1.1 1 1\nsequence p1 5");
    red(&format!("{NAMED}\nput 1.1.2 1\nsame 1.1.2"), "P4", "no producer");
    red(&format!("{NAMED}\nsequence p1 4"), "P4", "it must be 5");
}

#[test]
fn p1_a_repeat_is_acknowledged_and_nothing_is_there() {
    let refused = "put 1.1.1 1 p1 5\nfull 1.1.1\nput 1.1.2 1 p1 5\nsame 1.1.2";
    red(refused, "P1", "nothing is there");
    let in_doubt = "put 1.1.1 1 p1 5\nkill\nput 1.2.1 1 p1 5\nsame 1.2.1";
    fine(in_doubt);
    red(&format!("{in_doubt}\nread main\nwhole"), "P1", "a repeat of it was acknowledged");
    fine(&format!("{in_doubt}\nread main\nsaw 1@1.1.1/0\nwhole"));
}

#[test]
fn p5_an_event_is_in_two_takes_or_out_before_its_put() {
    let held = "put 0.1.1 1\nstored 0.1.1 1 1\ntake 7.1.1 main\ntook 7.1.1 1@0.1.1/0\n";
    let other = "take 8.1.1 main\ntook 8.1.1 1@0.1.1/0";
    red(&format!("{held}{other}"), "P5", "takes 7.1.1 and 8.1.1");
    fine(&format!("{held}rollback 7.1.1\n{other}\nrolled-back 7.1.1\ncommit 8.1.1 0"));
    fine(&format!("{held}take 8.1.1 second\ntook 8.1.1 1@0.1.1/0"));
    red("take 7.1.1 main\ntook 7.1.1 1@0.1.1/0", "P6", "which there is not");
}

#[test]
fn p6_bytes_are_not_those_that_were_put() {
    let mut checker = check("put 0.1.1 2\nstored 0.1.1 1 2\ntake 7.1.1 main");
    let sight = Sight { sum: 1, ..sight("1@0.1.1/0") };
    checker.line(&Line::Took(op("7.1.1"), vec![sight]));
    assert_eq!(checker.found().0[0].promise, "P6");
    red("put 0.1.1 2\nstored 0.1.1 1 2\ntake 7.1.1 main\ntook 7.1.1 3@0.1.1/2", "P6", "event 2");
}

#[test]
fn p1_a_late_cursor_begins_at_the_oldest_event_that_another_one_needs() {
    let late = life_and("read main\nsaw 5@0.1.2/2\nwhole\nmake late\nmade late\nkill\nread late");
    fine(&format!("{late}\nsaw {SECOND}\nwhole"));
    red(&format!("{late}\nsaw 5@0.1.2/2\nwhole"), "P1", "is not in cursor late");
    // What nobody needs any more may be there, or not.
    let drained = "take 7.2.1 second\n\
                   took 7.2.1 1@0.1.1/0 2@0.1.1/1 3@0.1.2/0 4@0.1.2/1\ncommit 7.2.1 0\n";
    let late = late.replace("make late", &format!("{drained}committed 7.2.1 4\nmake late"));
    fine(&format!("{late}\nsaw 5@0.1.2/2\nwhole"));
    fine(&format!("{late}\nsaw 4@0.1.2/1 5@0.1.2/2\nwhole"));
    red(&format!("{late}\nwhole"), "P1", "seq 5 ");
}

#[test]
fn a_failure_that_nobody_expects_is_a_violation() {
    red("error the channel cannot be opened", "error", "cannot be opened");
    red("stored 0.1.1 1 1", "error", "never begun");
}

#[test]
fn sequences_in_doubt_are_put_again_and_the_last_one_that_is_there() {
    let log = "put 1.1.1 1 p1 4\nstored 1.1.1 1 1\nput 1.1.2 1 p1 5\nstored 1.1.2 2 1\n\
               put 1.1.3 1 p1 6\nput 1.1.4 1 p1 7\nput 3.1.1 1 p3 1\nkill";
    assert_eq!(check(log).again("p1"), [5, 6, 7]);
    assert_eq!(check(log).again("p3"), [1]);
    assert!(check(log).again("p5").is_empty());
    let settled = format!("{log}\nread main\nsaw 1@1.1.1/0 2@1.1.2/0 3@1.1.3/0\nwhole");
    assert_eq!(check(&settled).again("p1"), [6]);
}

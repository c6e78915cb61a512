//! The events of a torture: all their bytes follow from the put and the place in it.

use crate::event::Event;

use super::line::Op;

const NAME_BYTES: usize = 16;

/// What no put is called.
const NOBODY: Op = Op { thread: u32::MAX, round: u32::MAX, number: u32::MAX };

/// The event at a place in a put. Most are far shorter than `longest`, some have headers.
pub(super) fn event(put: Op, index: u32, longest: u32) -> Event {
    let key = [put.thread, put.round, put.number, index];
    let mixed = |sum: u64, part: u32| (sum ^ u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut dice = fastrand::Rng::with_seed(key.into_iter().fold(u64::from(longest), mixed));
    // Each length's magnitude is as likely as any other.
    let magnitude = dice.u32(0..=longest.max(1).ilog2());
    let filler = dice.u32(0..=(longest >> magnitude)) as usize;
    let mut body = Vec::with_capacity(NAME_BYTES + filler);
    key.iter().for_each(|part| body.extend_from_slice(&part.to_le_bytes()));
    body.resize(NAME_BYTES + filler, 0);
    dice.fill(&mut body[NAME_BYTES..]);
    let mut event = Event::new(body);
    for header in 0..dice.u32(0..4).saturating_sub(1) {
        let value = "v".repeat(dice.usize(0..20));
        let fits = event.headers.insert(format!("header-{header}"), value);
        debug_assert!(fits.is_ok(), "two short headers fit into any event");
    }
    event
}

/// The put and the place in it that an event's body names.
pub(super) fn name_of(event: &Event) -> (Op, u32) {
    let mut parts = event.body.chunks_exact(4).map(|chunk| {
        let bytes = chunk.try_into().expect("chunks of four bytes have four bytes");
        u32::from_le_bytes(bytes)
    });
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(thread), Some(round), Some(number), Some(index)) => {
            (Op { thread, round, number }, index)
        }
        _ => (NOBODY, 0),
    }
}

/// The sum of all that an event consists of.
pub(super) fn sum_of(event: &Event) -> u32 {
    let mut bytes = Vec::new();
    event.encode_into(&mut bytes);
    crc32fast::hash(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_itself_and_no_two_are_alike() {
        let op = |number| Op { thread: 1, round: 2, number };
        let mut sums = std::collections::HashSet::new();
        for (number, index) in (0..20).flat_map(|number| (0..20).map(move |index| (number, index)))
        {
            let event = event(op(number), index, 100);
            assert_eq!(name_of(&event), (op(number), index));
            assert!(event.body.len() <= NAME_BYTES + 100);
            assert!(sums.insert(sum_of(&event)));
        }
        assert_eq!(name_of(&Event::new("short")), (NOBODY, 0));
    }
}

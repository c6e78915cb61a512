//! What replay does about each step of the log: facts on the left, one decision on the right.

/// What replay does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Take in the block's records.
    Apply,
    /// Pass over the block: it says nothing that counts.
    Skip,
    /// What is missing before this block had been synced: it is lost. Write that down, take in
    /// the block.
    Lose,
    /// What is missing before this block never was acknowledged after a sync: the log ends there,
    /// this block and all behind it are cut off.
    CutAtHole,
    /// The log ends, although more had been synced: it is lost. Write that down.
    LoseTail,
    /// The log ends here, as a power cut may end it. Whatever stands behind was never acknowledged.
    End,
    /// Facts that cannot be together.
    Impossible,
}

/// What is known at a step. A step is a whole block, in the order of segments and offsets, or the
/// end of all blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// No whole block is left.
    pub(crate) end: bool,
    /// A higher generation begins at or below the block's first LSN.
    pub(crate) void: bool,
    /// The block's records are known already: it begins below the LSN that is expected.
    pub(crate) behind: bool,
    /// The block begins above the LSN that is expected: something is missing before it.
    pub(crate) ahead: bool,
    /// The record with the LSN that is expected had been synced (it is at or below W).
    pub(crate) synced: bool,
}

const Y: Option<bool> = Some(true);
const N: Option<bool> = Some(false);
const X: Option<bool> = None;

/// Letter; end, void, behind, ahead, synced; decision. `X` is "whichever".
pub(crate) const TABLE: [(char, [Option<bool>; 5], Decision); 10] = [
    // The next records of the log.
    ('A', [N, N, N, N, X], Decision::Apply),
    // The second copy of something, or what a cut left behind it.
    ('B', [N, N, Y, N, X], Decision::Skip),
    // Written by a generation that ended before.
    ('C', [N, Y, N, N, X], Decision::Skip),
    ('D', [N, Y, Y, N, X], Decision::Skip),
    ('E', [N, Y, N, Y, X], Decision::Skip),
    // Acknowledged records are missing, later ones are there.
    ('F', [N, N, N, Y, Y], Decision::Lose),
    // The disk wrote later blocks before earlier ones, and the power went (weaker classes only).
    ('G', [N, N, N, Y, N], Decision::CutAtHole),
    // Acknowledged records are missing at the end.
    ('H', [Y, N, N, N, Y], Decision::LoseTail),
    // A clean end or a torn one.
    ('I', [Y, N, N, N, N], Decision::End),
    // What the next line says in words.
    ('J', [X, X, X, X, X], Decision::Impossible),
];

/// An end is neither void, behind nor ahead; nothing is both behind and ahead.
fn is_impossible(facts: Facts) -> bool {
    (facts.end && (facts.void || facts.behind || facts.ahead)) || (facts.behind && facts.ahead)
}

/// The row that the facts fall into.
pub(crate) fn decide(facts: Facts) -> (char, Decision) {
    if is_impossible(facts) {
        return ('J', Decision::Impossible);
    }
    let row = TABLE.iter().find(|(_, wanted, _)| matches(wanted, facts));
    row.map_or(('J', Decision::Impossible), |&(letter, _, decision)| (letter, decision))
}

fn matches(wanted: &[Option<bool>; 5], facts: Facts) -> bool {
    let given = [facts.end, facts.void, facts.behind, facts.ahead, facts.synced];
    wanted.iter().zip(given).all(|(wanted, given)| wanted.is_none_or(|wanted| wanted == given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_facts_has_exactly_one_row() {
        let mut used = std::collections::BTreeSet::new();
        for bits in 0..32u32 {
            let bit = |index: u32| bits & (1 << index) != 0;
            let facts =
                Facts { end: bit(0), void: bit(1), behind: bit(2), ahead: bit(3), synced: bit(4) };
            let possible = TABLE.iter().filter(|(letter, ..)| *letter != 'J');
            let rows: Vec<char> =
                possible.filter(|(_, wanted, _)| matches(wanted, facts)).map(|row| row.0).collect();
            let (letter, decision) = decide(facts);
            if is_impossible(facts) {
                assert_eq!(rows, [], "{facts:?}");
                assert_eq!(decision, Decision::Impossible);
            } else {
                assert_eq!(rows, [letter], "{facts:?}");
                assert_ne!(decision, Decision::Impossible);
            }
            used.insert(letter);
        }
        assert_eq!(used.len(), TABLE.len(), "a row that nothing reaches");
    }
}

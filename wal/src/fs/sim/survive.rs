//! What of the unsynced survives a power cut: the dice of the simulated disk.

/// What of that which was not synced a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    /// Nothing: what was not synced never happened.
    Nothing,
    /// Everything: the disk had written it all by itself.
    Everything,
    /// Anything: each piece of 512 bytes of each write, and each change of size, may be there or
    /// not; of a directory's operations those up to some point, as a journal leaves them.
    Seed(u64),
    /// As [`Survive::Seed`], and of a directory's operations any, whatever their order: what a
    /// file system without a journal may leave.
    SeedAnyNames(u64),
    /// One change alone, by its place in [`super::SimFs::unsynced`]: the disk had written just that.
    Only(u64),
    /// Everything but one change, by its place in [`super::SimFs::unsynced`].
    AllBut(u64),
}

/// Small random numbers from a seed (SplitMix64), the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// Dice of their own for each of several uses of one seed.
    pub(super) fn derived(seed: u64, salt: u64) -> Dice {
        let mut dice = Dice::new(seed);
        let mixed = dice.next() ^ salt;
        Dice::new(mixed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without `end`. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Decides, one unsynced thing after the other, what is kept.
#[derive(Debug)]
pub(super) struct Picker {
    rule: Rule,
    any_names: bool,
}

#[derive(Debug)]
enum Rule {
    Nothing,
    Everything,
    Random(Dice),
    /// Of all changes, in the order in which they are asked for, one is told from the others.
    One {
        at: u64,
        next: u64,
        kept: bool,
    },
}

impl Picker {
    pub(super) fn new(survive: Survive) -> Picker {
        let any_names = matches!(survive, Survive::SeedAnyNames(_));
        let rule = match survive {
            Survive::Nothing => Rule::Nothing,
            Survive::Everything => Rule::Everything,
            Survive::Seed(seed) | Survive::SeedAnyNames(seed) => Rule::Random(Dice::new(seed)),
            Survive::Only(at) => Rule::One { at, next: 0, kept: true },
            Survive::AllBut(at) => Rule::One { at, next: 0, kept: false },
        };
        Picker { rule, any_names }
    }

    /// Whether one thing is kept.
    pub(super) fn keeps(&mut self) -> bool {
        match &mut self.rule {
            Rule::Nothing => false,
            Rule::Everything => true,
            Rule::Random(dice) => dice.below(2) == 0,
            Rule::One { at, next, kept } => {
                *next += 1;
                (*next - 1 == *at) == *kept
            }
        }
    }

    /// Which of the `count` pieces of one write are kept.
    pub(super) fn pieces(&mut self, count: usize) -> Vec<bool> {
        let Rule::Random(dice) = &mut self.rule else { return vec![self.keeps(); count] };
        // A coin for each piece alone would hardly ever leave a long write whole, or absent, or
        // lacking a single piece; these are the cases that matter most.
        match dice.below(6) {
            0 => vec![false; count],
            1 => vec![true; count],
            2 => {
                let lost = dice.below(count as u64) as usize;
                (0..count).map(|piece| piece != lost).collect()
            }
            3 => {
                let end = dice.below(count as u64 + 1) as usize;
                (0..count).map(|piece| piece < end).collect()
            }
            4 => (0..count).map(|_| dice.below(8) != 0).collect(),
            _ => (0..count).map(|_| dice.below(2) == 0).collect(),
        }
    }

    /// Which of the `count` operations of one directory are kept.
    pub(super) fn names(&mut self, count: usize) -> Vec<bool> {
        match &mut self.rule {
            Rule::Random(dice) if !self.any_names => {
                let end = dice.below(count as u64 + 1) as usize;
                (0..count).map(|op| op < end).collect()
            }
            _ => (0..count).map(|_| self.keeps()).collect(),
        }
    }
}

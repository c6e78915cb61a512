//! Bits and sectors change behind the channel's back: what is not hit is delivered, what is hit is
//! named once, and its bytes are kept.

use forebay_proof::filled::{Cost, Filled, both_ways, filled};
use forebay_proof::lab::{ACK, Block, Lab, PUT, SEAL, SECTOR, for_seeds};
use forebay_proof::model::Dice;

fn flip_each(which: impl Fn(&Block) -> bool, at: impl Fn(&Block) -> u64) {
    let filled = filled(11);
    for segment in 0..filled.live.len() {
        let Some(block) = filled.live[segment].1.iter().rfind(|block| which(block)).cloned() else {
            continue;
        };
        let path = filled.live[segment].0.clone();
        let place = at(&block);
        let cost = filled.cost(segment, place, place + 1);
        let what = format!("bit at {place} of {}", path.display());
        both_ways(&filled, &what, |lab| lab.fs.flip_bit(&path, place, 3), &cost);
    }
}

#[test]
fn p6_an_undamaged_channel_has_no_losses() {
    let filled = filled(11);
    both_ways(&filled, "nothing", |_| {}, &Cost::default());
}

#[test]
fn p6_a_flipped_bit_in_a_segment_header_costs_nothing() {
    let filled = filled(11);
    for (path, _) in &filled.live {
        for byte in [0, 9, 20, 33, 44, 50, 70, 90, 126, 2000] {
            let what = format!("byte {byte} of {}", path.display());
            both_ways(&filled, &what, |lab| lab.fs.flip_bit(path, byte, 5), &Cost::default());
        }
    }
}

#[test]
fn p6_a_flipped_bit_in_the_first_state_of_a_segment_costs_nothing() {
    flip_each(|block| block.offset == SECTOR, |block| block.offset + 300);
    flip_each(|block| block.offset == SECTOR, |block| block.offset + 60);
}

#[test]
fn p6_damage_of_both_states_of_a_segment_costs_nothing() {
    let filled = filled(11);
    for (path, found) in &filled.live {
        let copies: Vec<u64> = found.iter().take(2).map(|block| block.offset).collect();
        for inside in [3, 500] {
            let damage = |lab: &Lab| {
                copies.iter().for_each(|copy| lab.fs.flip_bit(path, copy + inside, 1));
            };
            let what = format!("both States of {}, byte {inside}", path.display());
            both_ways(&filled, &what, damage, &Cost::default());
        }
    }
}

#[test]
fn p6_a_flipped_bit_in_a_put_costs_its_block() {
    flip_each(|block| block.has(PUT), |block| block.offset + 7);
    flip_each(|block| block.has(PUT), |block| block.offset + 100);
    flip_each(|block| block.has(PUT), |block| block.offset + 250);
}

#[test]
fn p6_a_flipped_bit_in_padding_costs_nothing() {
    let filled = filled(11);
    for (segment, (path, found)) in filled.live.iter().enumerate() {
        let block = found.iter().find(|block| block.has(PUT)).expect("puts");
        let bytes = filled.lab.fs.read_file(path);
        let place = block.end() - 1;
        if bytes[place as usize] != 0 {
            continue;
        }
        let what = format!("padding in segment {segment}");
        both_ways(&filled, &what, |lab| lab.fs.flip_bit(path, place, 0), &Cost::default());
    }
}

#[test]
fn p6_a_flipped_bit_in_an_acknowledgement_costs_a_redelivery_at_most() {
    flip_each(|block| block.kinds == [ACK], |block| block.offset + 8);
    flip_each(|block| block.kinds == [ACK], |block| block.offset + 200);
}

#[test]
fn p6_a_flipped_bit_in_a_seal_costs_nothing() {
    flip_each(|block| block.has(SEAL), |block| block.offset + 8);
    flip_each(|block| block.has(SEAL), |block| block.offset + 195);
}

#[test]
fn p6_a_flipped_bit_in_a_watermark_costs_nothing() {
    flip_each(Block::is_watermark, |block| block.offset + 8);
}

#[test]
fn p6_random_bits_and_sectors_cost_what_they_hit() {
    for_seeds(60, |seed| {
        let filled = filled(seed % 5 + 20);
        let mut dice = Dice::new(seed);
        let lab = filled.lab.copy();
        let mut cost = Cost::default();
        let mut what = String::new();
        for _ in 0..=dice.below(3) {
            let segment = dice.below(4) as usize;
            let (path, found) = &filled.live[segment];
            let end = found.last().expect("blocks").end();
            let place = dice.below(end);
            let sector = place - place % SECTOR;
            let inside = found.iter().rfind(|block| block.offset <= place);
            let is_last = segment == 3 && inside.is_some_and(|block| block.end() == end);
            if is_last {
                continue;
            }
            let (from, until) = match dice.below(3) {
                0 => (sector, sector + SECTOR),
                1 => (sector, sector + 4 * SECTOR),
                _ => (place, place + 1),
            };
            let until = until.min(end);
            // The watermark at the end is what closes the window of the block before it.
            if segment == 3 && until == end {
                continue;
            }
            what += &format!("{from}..{until} of segment {segment}; ");
            if until - from == 1 {
                // Padding is covered by nothing and needed by nobody.
                let body_end = body_end(&filled, segment, place);
                lab.fs.flip_bit(path, place, 2);
                if place >= body_end {
                    continue;
                }
            } else {
                lab.fs.zero_sectors(path, from..until);
            }
            let more = filled.cost(segment, from, until);
            cost.lost.extend(more.lost);
            cost.acks |= more.acks;
        }
        filled.verify(&what, &lab, &cost);
    });
}

/// Where the bytes that a checksum covers end, in the block at a place.
fn body_end(filled: &Filled, segment: usize, place: u64) -> u64 {
    let (path, found) = &filled.live[segment];
    let Some(block) = found.iter().find(|block| block.touches(place, place + 1)) else {
        return u64::MAX;
    };
    let bytes = filled.lab.fs.read_file(path);
    let at = block.offset as usize + 108;
    let len = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    block.offset + 192 + u64::from(len)
}

#[test]
fn p6_a_zeroed_sector_at_each_place_costs_its_block() {
    let filled = filled(12);
    for (segment, (path, found)) in filled.live.iter().enumerate() {
        let last = found.last().expect("blocks");
        let end = if segment == 3 { last.offset } else { last.end() };
        let mut sector = 0;
        while sector < end {
            let cost = filled.cost(segment, sector, sector + SECTOR);
            let lab = filled.lab.copy();
            lab.fs.zero_sectors(path, sector..sector + SECTOR);
            let what = format!("zeroes at {sector} of segment {segment}");
            filled.verify(&what, &lab, &cost);
            sector += SECTOR * 3;
        }
    }
}

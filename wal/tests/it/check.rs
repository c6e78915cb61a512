//! A check names just the place that was hit, and what stood there.

use forebay_proof::filled::filled;
use forebay_proof::lab::{PUT, SECTOR, ack, drain, for_seeds, put};
use forebay_proof::model::DIR;
use forebay_wal::{Check, DamageKind};

#[test]
fn p6_a_flipped_bit_in_any_block_is_one_damage_of_just_that_block() {
    let filled = filled(31);
    assert_eq!(filled.lab.check().damages, []);
    for (segment, (path, blocks)) in filled.live.iter().enumerate() {
        let is_last = segment + 1 == filled.live.len();
        // What stands at the log's very end looks torn.
        let judged = if is_last { blocks.len() - 2 } else { blocks.len() };
        for block in &blocks[..judged] {
            for inside in [9, 100, 196].into_iter().filter(|at| *at < 192 || block.len > SECTOR) {
                let lab = filled.lab.copy();
                lab.fs.flip_bit(path, block.offset + inside, 2);
                let found = lab.check().damages;
                let what = format!("byte {inside} of {block:?} in {}: {found:?}", path.display());
                assert_eq!(found.len(), 1, "{what}");
                assert_eq!(found[0].kind, DamageKind::Bytes, "{what}");
                assert_eq!(
                    (found[0].offset_bytes, found[0].known),
                    (block.offset, false),
                    "{what}"
                );
                // The last one of a segment may reach to the segment's end.
                assert!(found[0].len_bytes >= block.len, "{what}");
                let seqs = (found[0].seqs.start, found[0].seqs.end);
                assert_eq!(seqs, block.seqs, "{what}");
                assert_eq!(found[0].seqs.is_empty(), !block.has(PUT), "{what}");
            }
        }
    }
}

/// A disk that lost the write of one block and has an old one of the same segment there.
#[test]
fn p6_a_block_that_is_whole_and_out_of_its_place_is_damage() {
    let filled = filled(32);
    let (path, blocks) = &filled.live[1];
    let same_len = |pair: &&[forebay_proof::lab::Block]| {
        pair[0].has(PUT) && pair[1].has(PUT) && pair[0].len == pair[1].len
    };
    let pair = blocks.windows(2).find(same_len).expect("two of a length");
    let lab = filled.lab.copy();
    let bytes = lab.fs.read_file(path);
    let mut exchanged = bytes.clone();
    let (one, two) = (pair[0].offset as usize, pair[1].offset as usize);
    exchanged[two..two + pair[0].len as usize].copy_from_slice(&bytes[one..two]);
    lab.fs.write_file(path, &exchanged);
    let found = lab.check().damages;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].offset_bytes, found[0].len_bytes), (pair[1].offset, pair[1].len));
    assert_eq!((found[0].seqs.start, found[0].seqs.end), pair[1].seqs);
}

#[test]
fn p8_the_progress_rises_to_the_end_and_the_disk_is_only_read() {
    let filled = filled(33);
    let lab = filled.lab.copy();
    let before: Vec<_> = lab.fs.paths().into_iter().map(|p| (lab.fs.read_file(&p), p)).collect();
    let mut told = vec![(0, 0)];
    let check = Check::read_in(DIR.as_ref(), &lab.env, |done, of| told.push((done, of)));
    let check = check.expect("it can be checked");
    assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{told:?}");
    assert!(told.last().is_some_and(|(done, of)| done == of), "{told:?}");
    assert_eq!(check.events, filled.events.len() as u64);
    assert_eq!((check.segments, check.next_seq), (4, check.events + 1));
    let after: Vec<_> = lab.fs.paths().into_iter().map(|p| (lab.fs.read_file(&p), p)).collect();
    assert!(before == after && lab.fs.unsynced().is_empty(), "{:?}", lab.fs.unsynced());
}

/// Whatever an owner is at: between any two of its steps there is nothing to be found.
#[test]
fn p6_an_open_channel_is_sound_after_every_step() {
    for_seeds(20, |seed| {
        let lab = forebay_proof::lab::Lab::new(seed);
        let mut channel = lab.open();
        let mut dice = forebay_proof::model::Dice::new(seed);
        for step in 1..150 {
            match dice.below(12) {
                0 => _ = drain(&channel, "main"),
                1 => _ = ack(&channel, "second", 3),
                2 => lab.idle(&channel),
                3 => {
                    drop(channel);
                    channel = lab.open();
                }
                _ => _ = put(&channel, step * 100..step * 100 + 1 + dice.below(5)),
            }
            assert_eq!(lab.check().damages, [], "step {step}");
        }
    });
}

//! What strangers can send never makes `host` panic: the targets of `tests/fuzz`, over what honest clients send and over many
//! small changes of it. libFuzzer goes much further (`tests/fuzz/run`), but needs time of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::support::Random;

#[path = "fuzz/src/targets/mod.rs"]
mod targets;

/// How many changed inputs a target takes.
const CHANGES: usize = 3_000;

/// What a target may take for all of them, on a slow and busy machine.
const MOST_TIME: Duration = Duration::from_secs(60);

#[test]
fn no_target_panics_on_what_was_recorded_or_on_small_changes_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guests =
        [artifacts::DIVIDE, artifacts::NUMBERS, artifacts::LOOP_AT_START, artifacts::DIVIDE_COMPONENT];
    let guests = guests.map(PathBuf::from);
    for target in targets::TARGETS {
        let seeds = (target.seeds)(&root, &guests);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let begin = Instant::now();
        for seed in &seeds {
            check(target, seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        // Large inputs are files; what takes long on each of them is done less often.
        let large: usize = seeds.iter().map(Vec::len).sum::<usize>() / seeds.len();
        for _ in 0..CHANGES.min((CHANGES << 15) / (large + 1)) {
            check(target, &changed(&seeds, &mut random));
        }
        assert!(begin.elapsed() < MOST_TIME, "{} took {:?}", target.name, begin.elapsed());
    }
}

/// Has a target take `bytes`; shows them if it panics.
fn check(target: &targets::Target, bytes: &[u8]) {
    let taken = catch_unwind(AssertUnwindSafe(|| (target.take)(bytes)));
    if taken.is_err() {
        let shown: String = bytes.escape_ascii().take(4_000).map(char::from).collect();
        panic!("{} does not take b\"{shown}\"", target.name);
    }
}

/// What hostile input is made of.
const WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"NaN",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"9223372036854775807",
    b"0.1",
    b"\"\"",
    b"[]",
    b"{}",
    b"\"\\ud800\"",
    b"\\u0000",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"\n",
    b"\0",
    b"[[[[[[[[",
    b"{\"task\": ",
    b"\"__type__\": ",
    b"../",
    b"/",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x00",
];

/// One of the seeds after a few small changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random, most: usize| random.below(most.max(1) as u64) as usize;
    let mut bytes = seeds[pick(random, seeds.len())].clone();
    for _ in 0..=pick(random, 4) {
        let at = pick(random, bytes.len() + 1);
        let end = (at + pick(random, 40)).min(bytes.len());
        match pick(random, 7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 if at < bytes.len() => bytes[at] ^= 1 << pick(random, 8),
            3 if at < bytes.len() => bytes[at] = pick(random, 256) as u8,
            4 => {
                let word = WORDS[pick(random, WORDS.len())];
                bytes.splice(at..end, word.iter().copied());
            }
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = &seeds[pick(random, seeds.len())];
                let from = pick(random, other.len());
                let part = other[from..(from + 100).min(other.len())].to_vec();
                bytes.splice(at..end, part);
            }
        }
    }
    bytes
}

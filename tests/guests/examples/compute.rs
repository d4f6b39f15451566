//! Computes, and does nothing else.

use work::{fib, halve, image, sha256};

#[path = "../../speed/work.rs"]
mod work;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/compute", generate_all });

struct Compute;

export!(Compute);

impl Guest for Compute {
    fn sha256(kibibytes: u32) -> String {
        sha256(&vec![0x61; kibibytes as usize * 1024])
    }

    fn fib(n: u32) -> u64 {
        fib(n)
    }

    fn halve(side: u32) -> u64 {
        halve(&image(side as usize), side as usize).iter().map(|byte| u64::from(*byte)).sum()
    }
}

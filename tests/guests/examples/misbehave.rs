//! Every way to go wrong that a component has; what each function does is said in `wit/misbehave.wit`.

use std::{
    hint::black_box,
    io::{self, Write},
};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/misbehave", generate_all });

struct Misbehave;

export!(Misbehave);

const MEBIBYTE: usize = 1 << 20;

impl Guest for Misbehave {
    fn panic(message: String) {
        panic!("{message}");
    }

    fn endless_loop() {
        loop {
            black_box(());
        }
    }

    fn endless_recursion() -> u64 {
        one_deeper(0)
    }

    fn memory_bomb() {
        let mut taken = Vec::new();
        loop {
            taken.push(black_box(vec![1u8; MEBIBYTE]));
        }
    }

    fn huge_output(mebibytes: u32) -> u32 {
        let chunk = vec![b'.'; MEBIBYTE];
        let mut stdout = io::stdout();
        for _ in 0..mebibytes {
            stdout.write_all(&chunk).expect("the host takes all output");
        }
        mebibytes
    }

    fn end_process() {
        std::process::exit(1);
    }

    fn huge_result(bytes: u32) -> String {
        "x".repeat(bytes as usize)
    }

    fn broken_json() -> String {
        "{\"half\": ".to_owned()
    }

    fn deep_json(depth: u32) -> String {
        "[".repeat(depth as usize) + &"]".repeat(depth as usize)
    }

    fn not_a_number() -> f64 {
        f64::NAN
    }
}

/// Uses the value after the call, so that the call cannot become a loop.
#[expect(unconditional_recursion, reason = "that is the point")]
fn one_deeper(depth: u64) -> u64 {
    black_box(one_deeper(black_box(depth + 1))) + 1
}

//! What is left in a slot for the next run in it: nothing, whoever ran there.

use super::*;

/// Fills all that it can get: its memory, its table, its globals, and as much of its stack as there is.
const FILLS: &str = r#"(module
    (memory 1) (table $t 1 funcref) (global $g (mut i64) (i64.const 0)) (elem declare func $f)
    (func $f) 
    (func $deep (param $n i32) (param $a i64) (result i64)
        (if (result i64) (local.get $n)
            (then (i64.add (local.get $a)
                (call $deep (i32.sub (local.get $n) (i32.const 1)) (i64.const 0x5ec2e75ec2e75ec2))))
            (else (local.get $a))))
    (func (export "f") (result i32)
        (global.set $g (i64.const 0x5ec2e75ec2e75ec2))
        (drop (call $deep (i32.const 1000) (i64.const 0x5ec2e75ec2e75ec2)))
        (drop (table.grow $t (ref.func $f) (i32.const 15000)))
        (drop (memory.grow (i32.const 1023)))
        (memory.fill (i32.const 0) (i32.const 0x5e) (i32.const 67108864))
        (memory.size)))"#;

/// Looks at all that it can get; 0 if there is nothing of anybody.
const LOOKS: &str = r#"(module
    (memory 1) (table $t 1 funcref) (global $g (mut i64) (i64.const 0))
    (func (export "f") (result i32) (local $at i32) (local $seen i64) (local $n i32)
        (drop (memory.grow (i32.const 1023)))
        (drop (table.grow $t (ref.null func) (i32.const 15000)))
        (local.set $seen (global.get $g))
        (loop $words
            (local.set $seen (i64.or (local.get $seen) (i64.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $words (i32.lt_u (local.get $at) (i32.const 67108864))))
        (loop $elements
            (if (i32.eqz (ref.is_null (table.get $t (local.get $n))))
                (then (local.set $seen (i64.const 1))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $elements (i32.lt_u (local.get $n) (i32.const 15000))))
        (i64.ne (local.get $seen) (i64.const 0))))"#;

/// Has data of its own in its memory, of which changes must not stay either.
const CHANGES: &str = r#"(module
    (memory 2) (data (i32.const 65600) "as it was")
    (func (export "f") (result i64)
        (i64.load (i32.const 65600))
        (i64.store (i32.const 65600) (i64.const -1))
        (memory.fill (i32.const 0) (i32.const 0x5e) (i32.const 131072))))"#;

#[tokio::test]
async fn nothing_of_a_run_is_seen_by_another_in_the_same_slot() {
    let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
    let load = |wat| sandbox.load(&Tenant::DEFAULT, "app.wasm", &wat::parse_str(wat).unwrap()).unwrap();
    let (fills, looks, changes) = (load(FILLS), load(LOOKS), load(CHANGES));
    let first = value(&changes.run(0, call(json!([]))).await);
    for _ in 0..3 {
        assert_eq!(value(&fills.run(0, call(json!([]))).await), json!(1024), "it has filled 64 MiB");
        assert_eq!(value(&looks.run(0, call(json!([]))).await), json!(0), "after one that filled everything");
        assert_eq!(value(&changes.run(0, call(json!([]))).await), first);
        assert_eq!(value(&looks.run(0, call(json!([]))).await), json!(0), "after one with data of its own");
    }
}

#[tokio::test]
async fn nothing_of_a_run_that_was_stopped_is_seen_by_the_next() {
    let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
    let load = |wat: &str| sandbox.load(&Tenant::DEFAULT, "app.wasm", &wat::parse_str(wat).unwrap()).unwrap();
    let looks = load(LOOKS);
    for end in ["(loop (br 0))", "unreachable", "(drop (i32.div_s (i32.const 1) (i32.const 0)))"] {
        let stopped = load(&FILLS.replace("(memory.size)", &format!("{end} (memory.size)")));
        let run = stopped.run(0, call_within(Duration::from_secs(1))).await;
        failure(&run);
        assert_eq!(value(&looks.run(0, call(json!([]))).await), json!(0), "after one that ended by {end}");
    }
}

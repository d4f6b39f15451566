//! What a guest cannot do, and what is kept of what it says.

use super::*;

#[tokio::test]
async fn a_guest_may_print_any_amount_and_the_end_is_kept() {
    let body = "(local $n i32) (loop
        (call $print (i32.const 2) (i32.const 1024) (i32.const 65536))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 100))))
        (call $print (i32.const 2) (i32.const 1024) (i32.const 3))";
    let run = run(&command("end", body), json!([])).await;
    assert_eq!(value(&run), Value::Null, "printing does not kill");
    assert!(run.output.tail.ends_with("end"));
    assert_eq!(run.output.dropped, 100 * 65536 + 3 - (64 << 10));
}

#[tokio::test]
async fn a_guest_has_no_files_no_environment_and_bounded_randomness() {
    let expect = |wrong: &str| format!("(if {wrong} (then unreachable))");
    for (what, body) in [
        ("no folder is open", expect("(i32.ne (call $prestat (i32.const 3) (i32.const 0)) (i32.const 8))")),
        (
            "the environment is empty",
            "(drop (call $environ (i32.const 0) (i32.const 4)))".to_owned()
                + &expect("(i32.load (i32.const 0))"),
        ),
        (
            "argv[0] is the task's name",
            "(drop (call $args (i32.const 0) (i32.const 100)))".to_owned()
                + &expect("(i64.ne (i64.load (i32.const 100)) (i64.const 0x662e707061))"),
        ),
        ("there is randomness", expect("(call $random (i32.const 0) (i32.const 100))")),
    ] {
        assert_eq!(value(&run(&command("", &body), json!([])).await), Value::Null, "{what}");
    }
}

#[tokio::test]
async fn a_guest_can_import_the_network_but_not_use_it() {
    let denied = run(
        r#"(component
            (import "wasi:sockets/network@0.2.0" (instance $net
                (export "network" (type (sub resource)))
                (type $e (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
                    "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
                    "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused"
                    "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable"
                    "temporary-resolver-failure" "permanent-resolver-failure"))
                (export "error-code" (type (eq $e)))
                (type $f (enum "ipv4" "ipv6"))
                (export "ip-address-family" (type (eq $f)))))
            (alias export $net "network" (type $network))
            (alias export $net "error-code" (type $error))
            (alias export $net "ip-address-family" (type $family))
            (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
                (alias outer 1 $network (type $n)) (export "network" (type $nx (eq $n)))
                (export "instance-network" (func (result (own $nx))))))
            (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
            (alias export $tcp "tcp-socket" (type $tcp-socket))
            (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create-tcp
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $family (type $f)) (export "ip-address-family" (type $fx (eq $f)))
                (alias outer 1 $tcp-socket (type $s)) (export "tcp-socket" (type $sx (eq $s)))
                (export "create-tcp-socket"
                    (func (param "address-family" $fx) (result (result (own $sx) (error $ex)))))))
            (import "wasi:sockets/udp@0.2.0" (instance $udp (export "udp-socket" (type (sub resource)))))
            (alias export $udp "udp-socket" (type $udp-socket))
            (import "wasi:sockets/udp-create-socket@0.2.0" (instance $create-udp
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $family (type $f)) (export "ip-address-family" (type $fx (eq $f)))
                (alias outer 1 $udp-socket (type $s)) (export "udp-socket" (type $sx (eq $s)))
                (export "create-udp-socket"
                    (func (param "address-family" $fx) (result (result (own $sx) (error $ex)))))))
            (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
                (alias outer 1 $error (type $e)) (export "error-code" (type $ex (eq $e)))
                (alias outer 1 $network (type $n)) (export "network" (type $nx (eq $n)))
                (export "resolve-address-stream" (type $s (sub resource)))
                (export "resolve-addresses" (func (param "network" (borrow $nx)) (param "name" string)
                    (result (result (own $s) (error $ex)))))))
            (core module $libc (memory (export "memory") 1))
            (core instance $libc (instantiate $libc))
            (core func $network (canon lower (func $instance-network "instance-network")))
            (core func $tcp (canon lower (func $create-tcp "create-tcp-socket") (memory $libc "memory")))
            (core func $udp (canon lower (func $create-udp "create-udp-socket") (memory $libc "memory")))
            (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $libc "memory")))
            (core module $m
                (import "libc" "memory" (memory 1))
                (import "host" "network" (func $network (result i32)))
                (import "host" "tcp" (func $tcp (param i32 i32)))
                (import "host" "udp" (func $udp (param i32 i32)))
                (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
                (data (i32.const 64) "localhost")
                (func $failed_with (param $code i32) (result i32)
                    (i32.and (i32.load8_u (i32.const 0))
                        (i32.eq (i32.load8_u (i32.const 4)) (local.get $code))))
                (func (export "f") (result i32)
                    (call $tcp (i32.const 0) (i32.const 0))
                    (call $failed_with (i32.const 1))
                    (call $udp (i32.const 0) (i32.const 0))
                    (i32.and (call $failed_with (i32.const 1)))
                    (call $resolve (call $network) (i32.const 64) (i32.const 9) (i32.const 0))
                    (i32.and (call $failed_with (i32.const 20)))))
            (core instance $m (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
                (export "network" (func $network)) (export "tcp" (func $tcp)) (export "udp" (func $udp))
                (export "resolve" (func $resolve))))))
            (func (export "f") (result bool) (canon lift (core func $m "f"))))"#,
        json!([]),
    )
    .await;
    assert_eq!(value(&denied), json!(true), "TCP, UDP and name lookup are all refused");
}

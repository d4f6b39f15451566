//! The kinds of files that are taken, and those that are not.

use super::*;

#[tokio::test]
async fn a_component_of_components_runs() {
    // The glue between the two copies a string from one memory to the other.
    let run = run(
        r#"(component
            (component $inner
                (core module $m (memory (export "memory") 1) (data (i32.const 32) "hi")
                    (func (export "get") (result i32)
                        (i32.store (i32.const 16) (i32.const 32)) (i32.store (i32.const 20) (i32.const 2))
                        (i32.const 16)))
                (core instance $m (instantiate $m))
                (func (export "get") (result string) (canon lift (core func $m "get") (memory $m "memory"))))
            (component $outer
                (import "get" (func $get (result string)))
                (core module $libc (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256)))
                (core instance $libc (instantiate $libc))
                (core func $get (canon lower (func $get)
                    (memory $libc "memory") (realloc (func $libc "realloc"))))
                (core module $m (import "" "get" (func $get (param i32)))
                    (func (export "f") (result i32) (call $get (i32.const 16)) (i32.const 16)))
                (core instance $m (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func (export "f") (result string) (canon lift (core func $m "f") (memory $libc "memory"))))
            (instance $inner (instantiate $inner))
            (instance $outer (instantiate $outer (with "get" (func $inner "get"))))
            (export "f" (func $outer "f")))"#,
        json!([]),
    )
    .await;
    assert_eq!(value(&run), json!("hi"));
}

#[tokio::test]
async fn a_core_module_with_types_becomes_a_component() {
    let mut wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "add-up") (param i32 i32) (result i32)
                (if (call $random (i32.const 0) (i32.const 8)) (then unreachable))
                (i32.add (local.get 0) (local.get 1)))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))"#,
    )
    .unwrap();
    let mut wit = wit_parser::Resolve::default();
    let package = wit
        .push_str("app.wit", "package a:b; world w { export add-up: func(a: s32, b: s32) -> s32; }")
        .unwrap();
    let world = wit.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut wasm, &wit, world, encoding).unwrap();
    let program = sandbox().load(&Tenant::DEFAULT, "app.wasm", &wasm).unwrap();
    assert_eq!(program.shape(), Shape::CoreModuleWithTypes);
    assert_eq!(program.functions()[0].name(), "add_up");
    assert!(program.imports().iter().any(|import| import.starts_with("wasi:random/random@")));
    assert_eq!(value(&program.run(0, call(json!([20, 3]))).await), json!(23));
}

#[tokio::test]
async fn a_component_that_only_runs_is_a_command() {
    let component = |result: u32| {
        format!(
            r#"(component
                (core module $m (func (export "run") (result i32) (i32.const {result})))
                (core instance $m (instantiate $m))
                (func $run (result (result)) (canon lift (core func $m "run")))
                (instance $run (export "run" (func $run)))
                (export "wasi:cli/run@0.2.6" (instance $run)))"#
        )
    };
    let good = load(&component(0));
    assert_eq!(good.shape(), Shape::Command);
    assert_eq!(value(&good.run(0, call(json!([1]))).await), Value::Null);
    let bad = run(&component(1), json!([])).await;
    assert_eq!(exception(&bad), "builtins.RuntimeError: exit code 1");
}

#[test]
fn what_cannot_be_a_plugin_is_refused_with_what_to_do() {
    let refusal = |wat: &str| try_load(wat).err().unwrap().to_string();
    assert_eq!(
        refusal(r#"(module (import "env" "now" (func)) (func (export "f")))"#),
        r#""app.wasm" imports "env", which no one here offers: a plugin can import from wasi_snapshot_preview1"#
    );
    let unknown = refusal(r#"(component (import "acme:db/query@1.0.0" (instance (export "q" (func)))))"#);
    assert!(
        unknown.contains(r#"imports "acme:db/query@1.0.0""#) && unknown.contains("host:tasks"),
        "{unknown}"
    );
    let newer = refusal(
        r#"(component (import "host:tasks/context@0.1.0" (instance (export "later" (func))))
        (core module $m (func (export "f"))) (core instance $m (instantiate $m))
        (func (export "f") (canon lift (core func $m "f"))))"#,
    );
    assert!(newer.contains("cannot be linked") && newer.contains("later"), "{newer}");
    assert!(refusal("(module)").contains("offers no task"));
    assert!(refusal("(component)").contains("offers no task"));
    assert!(refusal(r#"(module (func (export "_f")))"#).contains("underscore"));
    for wat in [
        r#"(module (@custom "component-type:x" "garbage") (func (export "f")))"#,
        r#"(component (core module $m (memory 1)) (core instance (instantiate $m))
            (core instance (instantiate $m)) (core instance (instantiate $m)))"#,
    ] {
        assert_eq!(refusal(wat).lines().count(), 1);
    }
    let long = refusal(&format!(r#"(module (import "{}" "f" (func)))"#, "\\1b\\n".repeat(9_999)));
    assert!(long.len() < 2_000 && !long.contains('\x1b'), "{long}");
}

#[test]
fn a_sandbox_that_cannot_be_says_so() {
    let refusal = |slots| Sandbox::new(Options { slots, ..Options::default() }).err().unwrap().to_string();
    assert_eq!(refusal(0), "0 runs at once are not possible; choose 1 to 4294967295");
    assert!(refusal(1 << 20).contains("try fewer"), "{}", refusal(1 << 20));
}

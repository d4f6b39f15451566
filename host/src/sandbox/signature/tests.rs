//! Signatures read from real components, which are assembled here from WIT text.

use wasmparser::{RefType, ValType};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, WasmExport, WasmExportKind, WorldItem, WorldKey, abi::AbiVariant,
};

use super::read::SignatureError;
use super::*;

/// A component of the world in `wit`, whose functions all trap once they have their arguments. The packages of `wit/` can be used.
pub(in crate::sandbox) fn component(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
    let package = resolve.push_source("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(core_module(&resolve, world)).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn core_module(resolve: &Resolve, world: wit_parser::WorldId) -> String {
    let world = &resolve.worlds[world];
    let list = |types: &[wit_parser::abi::WasmType]| -> String {
        let core = |ty: &wit_parser::abi::WasmType| match ty {
            wit_parser::abi::WasmType::I64 | wit_parser::abi::WasmType::PointerOrI64 => " i64",
            wit_parser::abi::WasmType::F32 => " f32",
            wit_parser::abi::WasmType::F64 => " f64",
            _ => " i32",
        };
        types.iter().map(core).collect()
    };
    let mut wat = String::from("(module ");
    for (key, item) in &world.imports {
        let WorldItem::Interface { id, .. } = item else { continue };
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            let (module, name) = (resolve.name_world_key(key), &function.name);
            let (params, results) = (list(&signature.params), list(&signature.results));
            wat += &format!(r#"(import "{module}" "{name}" (func (param {params}) (result {results})))"#,);
        }
    }
    wat += r#"(memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)"#;
    let mut export = |interface: Option<&WorldKey>, func: &wit_parser::Function| {
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, func);
        let name = resolve.wasm_export_name(
            ManglingAndAbi::Legacy(LiftLowerAbi::Sync),
            WasmExport::Func { interface, func, kind: WasmExportKind::Normal },
        );
        let (params, results) = (list(&signature.params), list(&signature.results));
        wat += &format!(r#"(func (export "{name}") (param {params}) (result {results}) unreachable)"#);
    };
    for (key, item) in &world.exports {
        match item {
            WorldItem::Function(function) => export(None, function),
            WorldItem::Interface { id, .. } => {
                resolve.interfaces[*id].functions.values().for_each(|function| export(Some(key), function));
            }
            WorldItem::Type { .. } => {}
        }
    }
    wat + ")"
}

/// The exports of a component whose world has this body.
pub(in crate::sandbox) fn exports(world: &str) -> Exports {
    read_component(&component(&format!("package acme:app@1.0.0; world app {{ {world} }}"))).unwrap()
}

fn shown(exports: &Exports) -> Vec<String> {
    exports.functions.iter().map(|function| function.signature.to_string()).collect()
}

#[test]
fn a_signature_shows_parameters_defaults_rest_and_result_in_wits_spelling() {
    for (function, expected) in [
        ("f: func()", "f()"),
        ("divide: func(x: f64, y: f64) -> result<f64, task-error>", "divide(x: f64, y: f64) -> f64"),
        ("f: func(x: f64, how-far: option<f64>) -> f64", "f(x: f64, how_far: option<f64> = none) -> f64"),
        ("f: func(a: s8, b: u16, c: s32, d: u64, e: f32)", "f(a: s8, b: u16, c: s32, d: u64, e: f32)"),
        ("f: func(c: char, b: bool) -> string", "f(c: char, b: bool) -> string"),
        ("f: func(b: list<u8>) -> tuple<u8, list<string>>", "f(b: list<u8>) -> tuple<u8, list<string>>"),
        ("f: func() -> result", "f()"),
        ("f: func() -> result<_, string>", "f()"),
        ("f: func() -> option<result<u8, string>>", "f() -> option<result<u8, string>>"),
        ("f: func() -> list<result<_, u8>>", "f() -> list<result<_, u8>>"),
        ("f: func(e: task-error) -> json", "f(e: task-error) -> json"),
        ("f: func(args: list<json>)", "f(*args)"),
        ("f: func(kwargs: list<tuple<string, json>>)", "f(**kwargs)"),
        ("f: func(x: u8, args: list<json>, kwargs: list<tuple<string, json>>)", "f(x: u8, *args, **kwargs)"),
        ("f: func(args: list<json>, x: u8)", "f(args: list<json>, x: u8)"),
        ("f: func(args: list<string>)", "f(args: list<string>)"),
        ("f: func(kwargs: list<json>)", "f(kwargs: list<json>)"),
    ] {
        let world = format!("use host:tasks/types@0.1.0.{{json, task-error}}; export {function};");
        assert_eq!(shown(&exports(&world)), [expected], "{function}");
    }
}

#[test]
fn named_types_are_shown_by_name_and_read_in_full() {
    let read = exports(
        "record order-line { item-no: u32, note: option<string> }
         variant shape { unit-square, circle(f64) }
         enum colour { dark-red, blue }
         flags access { may-read, may-write }
         export f: func(l: list<order-line>, s: shape, c: colour, a: access);",
    );
    assert_eq!(shown(&read), ["f(l: list<order-line>, s: shape, c: colour, a: access)"]);
    let [line, shape, colour, access] = read.functions[0].signature.params.as_slice() else { panic!() };
    let Type::List(line) = &line.ty else { panic!("{line:?}") };
    assert!(matches!(&**line, Type::Record(r) if r.fields[0].snake == "item_no"));
    assert!(matches!(&shape.ty, Type::Variant(v) if v.cases["unit_square"].kebab == "unit-square"
        && v.cases["unit_square"].payload.is_none() && matches!(v.cases["circle"].payload, Some(Type::F64))));
    assert!(matches!(&colour.ty, Type::Enum(e) if e.labels["dark_red"] == "dark-red"));
    assert!(matches!(&access.ty, Type::Flags(e) if e.labels["may_write"] == "may-write"));
}

#[test]
fn json_is_known_through_every_alias_and_a_string_of_the_same_name_is_not_json() {
    for (world, expected) in [
        ("use host:tasks/types@0.1.0.{json}; export f: func(x: json);", "f(x: json)"),
        ("use host:tasks/types@0.1.0.{json as any}; export f: func(x: any);", "f(x: json)"),
        ("use host:tasks/types@0.1.0.{json}; type any = json; export f: func(x: any);", "f(x: json)"),
        ("export t: interface { use host:tasks/types@0.1.0.{json}; f: func(x: json); }", "f(x: json)"),
        (
            "export t: interface { use host:tasks/types@0.1.0.{json as j}; type k = j; f: func(x: list<k>); }",
            "f(x: list<json>)",
        ),
        ("type json = string; export f: func(x: json);", "f(x: string)"),
    ] {
        assert_eq!(shown(&exports(world)), [expected], "{world}");
    }
}

#[test]
fn functions_of_the_world_and_of_its_interfaces_are_tasks_but_not_those_of_wasi() {
    let read = read_component(&component(
        "package acme:app@1.0.0;
         interface tasks { send-mail: func(); }
         world app { export run: func(); export tasks; export extra: interface { go: func(); }
                     export wasi:cli/run@0.2.6; }
         package wasi:cli@0.2.6 { interface run { start: func() -> result; } }",
    ))
    .unwrap();
    let mut found: Vec<_> = read
        .functions
        .iter()
        .map(|f| (f.interface.as_deref(), f.export.as_str(), f.signature.name.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (None, "run", "run"),
            (Some("acme:app/tasks@1.0.0"), "send-mail", "send_mail"),
            (Some("extra"), "go", "go"),
        ]
    );
    assert!(read.skipped.is_empty(), "{:?}", read.skipped);
}

#[test]
fn imports_name_the_interfaces_that_the_component_asks_for() {
    let read = exports("import host:tasks/context@0.1.0; export f: func();");
    assert!(read.imports.contains(&"host:tasks/context@0.1.0".to_owned()), "{:?}", read.imports);
    assert!(exports("export f: func();").imports.is_empty());
}

#[test]
fn what_json_cannot_carry_is_skipped_with_a_reason_that_names_the_parameter() {
    for (world, name, reason) in [
        (
            "export t: interface { resource file; f: func(x: u8, to: list<borrow<file>>); }",
            "f",
            "parameter `to` holds a resource",
        ),
        ("export t: interface { resource file; f: func() -> file; }", "f", "its result holds a resource"),
        (
            "export t: interface { resource file { constructor(); } }",
            "[constructor]file",
            "it belongs to a resource",
        ),
        (
            "export t: interface { resource file { size: func() -> u64; } }",
            "[method]file.size",
            "it belongs to a resource",
        ),
        (
            "export t: interface { resource file { tidy: static func(); } }",
            "[static]file.tidy",
            "it belongs to a resource",
        ),
        ("export f: func(s: stream<u8>);", "f", "parameter `s` holds a stream"),
        ("export f: func(s: future<u8>);", "f", "parameter `s` holds a future"),
        ("export f: func(e: error-context);", "f", "parameter `e` holds an error-context"),
        ("export f: func(m: map<string, u8>);", "f", "parameter `m` holds a map"),
        ("export f: func(l: list<u8, 4>);", "f", "parameter `l` holds a fixed-length list"),
        ("export f: func(o: list<option<option<u8>>>);", "f", "parameter `o` holds an option of an option"),
        ("export f: async func();", "f", "it is async"),
    ] {
        let read = exports(&format!("{world} export other: func();"));
        assert_eq!(shown(&read), ["other()"], "{world}");
        let skipped: Vec<_> = read.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
        assert_eq!(skipped, [(name, reason)], "{world}");
    }
}

#[test]
fn of_two_functions_with_one_name_the_later_is_skipped() {
    let read =
        exports("export t: interface { send-mail: func(); } export u: interface { send-mail: func(x: u8); }");
    assert_eq!(shown(&read), ["send_mail()"]);
    assert_eq!(read.skipped[0].reason, "there is a function `send_mail` before it");
}

#[test]
fn types_nested_too_deep_or_written_too_long_are_skipped() {
    let nested = |depth| format!("export f: func(x: {}bool{});", "list<".repeat(depth), ">".repeat(depth));
    assert_eq!(exports(&nested(DEEPEST - 1)).functions.len(), 1);
    let deep = exports(&nested(DEEPEST));
    assert_eq!(deep.skipped[0].reason, "parameter `x` holds a type nested more than 64 levels deep");

    let mut doubling = String::from("type t0 = tuple<string, string>;");
    for i in 1..12 {
        doubling += &format!("type t{i} = tuple<t{0}, t{0}>;", i - 1);
    }
    let long = exports(&format!("{doubling} export f: func(x: t11);"));
    assert_eq!(long.skipped[0].reason, "its signature is longer than 4096 characters");
}

#[test]
fn functions_with_names_too_long_for_messages_are_skipped() {
    let long = "n".repeat(201);
    for (world, reason) in [
        (format!("export {long}: func();"), "it has a name longer than 200 bytes"),
        (format!("export f: func({long}: u8);"), "it has a name longer than 200 bytes"),
        (
            format!("enum e {{ {long} }} export f: func(x: e);"),
            "parameter `x` holds a name longer than 200 bytes",
        ),
        (
            format!("record r {{ {long}: u8 }} export f: func() -> r;"),
            "its result holds a name longer than 200 bytes",
        ),
    ] {
        assert_eq!(exports(&world).skipped[0].reason, reason);
    }
    let longest = "n".repeat(200);
    assert_eq!(exports(&format!("export {longest}: func();")).functions.len(), 1);
}

#[test]
fn a_long_chain_of_aliases_does_not_exhaust_the_stack() {
    let chain: String = (1..5000).map(|i| format!("type t{i} = t{};", i - 1)).collect();
    let read = exports(&format!("type t0 = list<bool>; {chain} export f: func(x: t4999);"));
    assert_eq!(shown(&read), ["f(x: list<bool>)"]);
}

#[test]
fn bytes_that_are_no_component_are_an_error() {
    let package = {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("a.wit", "package a:b; interface c {}").unwrap();
        wit_component::encode(&resolve, package).unwrap()
    };
    assert!(matches!(read_component(&package), Err(SignatureError::NoCode)));
    let good = component("package a:b; world c { export f: func(); }");
    // A valid component whose exported type is a function type, which no WIT says; the decoder panics on it.
    let no_wit = r#"(component (import "a:b/c" (instance (type (func)) (export "t" (type (eq 0))))))"#;
    let no_wit = wat::parse_str(no_wit).unwrap();
    for bytes in [&no_wit[..], &b""[..], b"\0asm\x01\0\0\0", b"junk", &good[..good.len() / 2]] {
        assert!(matches!(read_component(bytes), Err(SignatureError::Unreadable(_))), "{bytes:?}");
    }
}

#[test]
fn a_core_function_of_numbers_is_a_task() {
    use ValType::{F32, F64, I32, I64};
    let shown = |name, params: &[_], results: &[_]| match core_function(name, params, results) {
        Ok(signature) => signature.to_string(),
        Err(reason) => reason,
    };
    let reference = ValType::Ref(RefType::FUNCREF);
    for (name, params, results, expected) in [
        ("add", &[I32, I32][..], &[I32][..], "add(a: s32, b: s32) -> s32"),
        ("mix-all", &[I32, I64, F32, F64], &[F64], "mix_all(a: s32, b: s64, c: f32, d: f64) -> f64"),
        ("f", &[], &[], "f()"),
        ("f", &[I32, reference], &[], "parameter `b` is funcref, which is no number"),
        ("f", &[], &[ValType::V128], "its result is v128, which is no number"),
        ("f", &[], &[I32, I32], "it returns 2 values"),
        ("f", &[I32; 27], &[], "it takes 27 parameters, more than 26"),
        ("_initialize", &[], &[], "its name is not a letter followed by letters, digits, `_` or `-`"),
        ("a b", &[], &[], "its name is not a letter followed by letters, digits, `_` or `-`"),
        ("", &[], &[], "its name is not a letter followed by letters, digits, `_` or `-`"),
    ] {
        assert_eq!(shown(name, params, results), expected);
    }
}

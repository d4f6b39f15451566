//! A guest that can make any call of any function it may import, with any arguments: a component for the interfaces of WASI and
//! `host:tasks`, a core module for the older WASI.
//!
//! Its types are WASI's own description of itself, which comes with the engine; so a function that a newer WASI brings is
//! called from then on.

use std::fmt::Write;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::{
    Resolve, Type, TypeDefKind, TypeId, WorldItem,
    abi::{AbiVariant, WasmType},
};

/// A function that a component may import.
pub struct Import {
    /// The interface it stands in: `wasi:io/poll@0.2.12`.
    pub interface: String,
    /// Its name there: `[method]pollable.block`.
    pub name: String,
    /// The types of its parameters, as the canonical ABI has them.
    pub params: Vec<WasmType>,
    pub results: Vec<WasmType>,
    /// What its first parameter is a handle of, if it is one.
    pub handle: Option<String>,
}

/// Where the guest keeps the results of its steps, four bytes each.
pub const RESULTS: u64 = 64;

/// Where it has what it is told put, if that is not a single number.
pub const TOLD: u64 = 512;

/// Where it has text that it hands out.
pub const ROOM: u64 = 1024;

/// In the place of an argument: what is in the guest's memory at this address.
pub const fn found_at(address: u64) -> u64 {
    0xfeed_0000_0000_0000 | address
}

/// The functions, and the component whose `run` calls them: it takes steps, each a list of the function's number, how often it is
/// called, and its arguments, and returns the numbers that are in its
/// memory from [`RESULTS`] on.
pub fn component() -> (Vec<Import>, Vec<u8>) {
    let (_, adapter) = metadata::decode(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER).unwrap();
    let mut resolve = adapter.resolve;
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
    resolve.push_source("http.wit", include_str!("http.wit")).unwrap();
    let mut interfaces: Vec<_> = resolve
        .interfaces
        .iter()
        .filter(|(_, interface)| interface.name.is_some() && interface.name.as_deref() != Some("run"))
        .map(|(id, _)| resolve.id_of(id).unwrap())
        .collect();
    interfaces.sort();
    let imports: String = interfaces.iter().fold(String::new(), |mut text, interface| {
        writeln!(text, "import {interface};").unwrap();
        text
    });
    let world = format!(
        "package hostile:guest; world guest {{ {imports} export run: func(steps: list<list<u64>>) -> list<u32>; }}"
    );
    let package = resolve.push_source("hostile.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();

    let imports = imports_of(&resolve, world);
    let mut module = wat::parse_str(text(&imports)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    (imports, component)
}

fn imports_of(resolve: &Resolve, world: wit_parser::WorldId) -> Vec<Import> {
    let mut imports = Vec::new();
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface = resolve.id_of(*id).unwrap();
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            imports.push(Import {
                interface: interface.clone(),
                name: function.name.clone(),
                params: signature.params,
                results: signature.results,
                handle: function.params.first().and_then(|param| handle(resolve, &param.ty)),
            });
        }
        for (name, ty) in &resolve.interfaces[*id].types {
            if matches!(resolve.types[*ty].kind, TypeDefKind::Resource) {
                imports.push(Import {
                    interface: interface.clone(),
                    name: format!("[resource-drop]{name}"),
                    params: vec![WasmType::I32],
                    results: Vec::new(),
                    handle: Some(name.clone()),
                });
            }
        }
    }
    imports
}

/// The name of the resource that values of this type are handles of.
fn handle(resolve: &Resolve, ty: &Type) -> Option<String> {
    let Type::Id(id) = ty else { return None };
    let resource = |id: &TypeId| {
        let mut ty = &resolve.types[*id];
        while let TypeDefKind::Type(Type::Id(of)) = ty.kind {
            ty = &resolve.types[of];
        }
        ty.name.clone()
    };
    match &resolve.types[*id].kind {
        TypeDefKind::Handle(wit_parser::Handle::Own(of) | wit_parser::Handle::Borrow(of)) => resource(of),
        _ => None,
    }
}

/// The core module within.
fn text(imports: &[Import]) -> String {
    let mut text = "(module\n".to_owned();
    for (number, Import { interface, name, params, results, .. }) in imports.iter().enumerate() {
        let types = |types: &[WasmType]| types.iter().map(|ty| core(*ty)).collect::<Vec<_>>().join(" ");
        writeln!(
            text,
            r#"(import "{interface}" "{name}" (func $f{number} (param {}) (result {})))"#,
            types(params),
            types(results)
        )
        .unwrap();
    }
    text += r#"
        (memory (export "memory") 64)
        (global $next (mut i32) (i32.const 1048576))
        (data (i32.const 1024) "../../etc/passwd\00localhost\00some text that is handed to the host")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            ;; What is told in many calls is written over each other.
            (if (i32.gt_u (global.get $next) (i32.const 3000000)) (then (global.set $next (i32.const 2000000))))
            (local.get $at))
        (func $argument (param $at i32) (result i64)
            (local $value i64)
            (local.set $value (i64.load (local.get $at)))
            (if (i64.eq (i64.shr_u (local.get $value) (i64.const 48)) (i64.const 0xfeed))
                (then (return (i64.load32_u (i32.wrap_i64 (local.get $value))))))
            (local.get $value))
    "#;
    for (number, import) in imports.iter().enumerate() {
        writeln!(text, "(func $call{number} (param $arguments i32) (result i64)").unwrap();
        let mut call = format!("(call $f{number}");
        for (place, ty) in import.params.iter().enumerate() {
            let argument =
                format!("(call $argument (i32.add (local.get $arguments) (i32.const {})))", place * 8);
            call += &match core(*ty) {
                "i32" => format!("(i32.wrap_i64 {argument})"),
                "f32" => format!("(f32.reinterpret_i32 (i32.wrap_i64 {argument}))"),
                "f64" => format!("(f64.reinterpret_i64 {argument})"),
                _ => argument,
            };
        }
        call += ")";
        text += &match import.results.first().map(|ty| core(*ty)) {
            None => format!("{call} (i64.const 0))\n"),
            Some("i32") => format!("(i64.extend_i32_u {call}))\n"),
            Some("f32" | "f64") => format!("(drop {call}) (i64.const 0))\n"),
            Some(_) => format!("{call})\n"),
        };
    }
    let calls: String = (0..imports.len()).map(|number| format!(" $call{number}")).collect();
    write!(
        text,
        r#"(table funcref (elem {calls}))
        (type $call (func (param i32) (result i64)))
        (func (export "run") (param $steps i32) (param $count i32) (result i32)
            (local $step i32) (local $list i32) (local $times i64)
            (loop $steps
                (if (i32.ge_u (local.get $step) (local.get $count)) (then
                    (i32.store (i32.const 32) (i32.const {RESULTS}))
                    (i32.store (i32.const 36) (i32.const 200))
                    (return (i32.const 32))))
                (local.set $list
                    (i32.load (i32.add (local.get $steps) (i32.mul (local.get $step) (i32.const 8)))))
                (local.set $times (i64.load offset=8 (local.get $list)))
                (loop $again
                    (i32.store offset={RESULTS} (i32.mul (local.get $step) (i32.const 4))
                        (i32.wrap_i64 (call_indirect (type $call)
                            (i32.add (local.get $list) (i32.const 16))
                            (i32.wrap_i64 (i64.load (local.get $list))))))
                    (local.set $times (i64.sub (local.get $times) (i64.const 1)))
                    (br_if $again (i64.gt_s (local.get $times) (i64.const 0))))
                (local.set $step (i32.add (local.get $step) (i32.const 1)))
                (br $steps))
            unreachable))"#
    )
    .unwrap();
    text
}

fn core(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

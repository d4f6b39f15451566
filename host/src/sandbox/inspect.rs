//! Looks at the bytes of a `.wasm` file before anything is compiled: what it is, and whether it is within
//! bounds.
//!
//! Compiling costs more than linear time and memory in some of the numbers counted here, and wasmtime does
//! not count that as a security problem; so what cannot be a sensible plugin is refused by counting.
//!
//! Invariant: bytes that pass [`inspect`] use no WebAssembly feature outside [`FEATURES`].

use wasmparser::{
    CanonicalFunction, CanonicalOption, CompositeInnerType, Encoding, ExternalKind, FunctionBody, Operator,
    Parser, Payload, RecGroup, Validator, WasmFeatures,
};

use super::{Options, engine::TABLE_ELEMENTS, load::LoadError, one_line};

/// The WebAssembly features that a plugin may use: what compilers emit today. Each further one would be code
/// that can be attacked.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::COMPONENT_MODEL);

/// The most of everything that a file may have, nested modules included. The largest honest guest, CPython
/// with its standard library, has 427 KB in its largest function and 52,000 locals in sum.
mod most {
    pub const FUNCTIONS: u64 = 100_000;
    /// Locals of one function: 50,000 of them in 1 MiB of code take 4 GB to compile.
    pub const LOCALS: u64 = 5_000;
    pub const LOCALS_IN_SUM: u64 = 500_000;
    /// Bytes of one function: compile time grows with the square of the loops in it.
    pub const BODY: u64 = 512 << 10;
    /// Blocks within blocks: a `switch` of many cases nests as deep.
    pub const DEPTH: u64 = 5_000;
    pub const BRANCHES: u64 = 10_000;
    pub const PARAMS: u64 = 100;
    pub const TYPES: u64 = 10_000;
    /// Modules of C that are linked when they are loaded have one for each name that they share.
    pub const IMPORTS: u64 = 20_000;
    pub const EXPORTS: u64 = 20_000;
    pub const GLOBALS: u64 = 20_000;
    pub const SEGMENTS: u64 = 10_000;
    /// Bytes of a name that callers get to see.
    pub const NAME: u64 = 200;
    /// Components within components, and instances: each level may instantiate the next many times, and the number of instances is
    /// the product.
    pub const NESTING: u64 = 5;
    pub const INSTANCES: u64 = 200;
}

/// What the bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A component.
    Component,
    /// A core module.
    Module {
        /// Whether it carries the WIT types of its imports and exports, as wit-bindgen leaves them.
        has_types: bool,
        /// Whether it is a program with a `_start`.
        has_start: bool,
    },
}

/// Tells what `wasm` is, or why it is not taken. `file` names it in errors. Of bytes that were `known` to be good when they were
/// compiled the functions are not read again.
pub(super) fn inspect(file: &str, wasm: &[u8], options: &Options, known: bool) -> Result<Kind, LoadError> {
    if wasm.len() > options.file {
        return Err(LoadError::TooLarge { file: file.to_owned(), size: wasm.len(), largest: options.file });
    }
    check_magic(file, wasm)?;
    let kind = count(wasm, options.memory as u64, known).map_err(|refusal| match refusal {
        Refusal::Malformed(error) => invalid(file, &error),
        Refusal::Limit { what, found, most } => {
            LoadError::Limit { file: file.to_owned(), what: what.into(), found, most }
        }
    })?;
    if !known {
        // Counting comes first, as this costs more.
        Validator::new_with_features(FEATURES).validate_all(wasm).map_err(|error| invalid(file, &error))?;
    }
    Ok(kind)
}

fn check_magic(file: &str, wasm: &[u8]) -> Result<(), LoadError> {
    let file = file.to_owned();
    if wasm.starts_with(b"\0asm") {
        return Ok(());
    }
    let text = wasm.trim_ascii_start();
    if text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;") {
        return Err(LoadError::TextFormat { file });
    }
    let start = wasm[..wasm.len().min(4)].escape_ascii().to_string();
    Err(LoadError::NotWasm { file, start })
}

enum Refusal {
    Malformed(wasmparser::BinaryReaderError),
    Limit { what: &'static str, found: u64, most: u64 },
}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

/// A running sum with its limit.
struct Counter {
    what: &'static str,
    found: u64,
    most: u64,
}

impl Counter {
    fn new(what: &'static str, most: u64) -> Self {
        Self { what, found: 0, most }
    }

    fn add(&mut self, more: u64) -> Result<(), Refusal> {
        self.found = self.found.saturating_add(more);
        check(self.what, self.found, self.most)
    }
}

fn check(what: &'static str, found: u64, most: u64) -> Result<(), Refusal> {
    if found > most { Err(Refusal::Limit { what, found, most }) } else { Ok(()) }
}

/// One pass over the sections of the file and of the modules within. No memory may begin with more than
/// `memory` bytes. Functions that are `known` are passed over.
fn count(wasm: &[u8], memory: u64, known: bool) -> Result<Kind, Refusal> {
    let mut functions = Counter::new("functions", most::FUNCTIONS);
    let mut locals_in_sum = Counter::new("locals in all functions", most::LOCALS_IN_SUM);
    let mut types = Counter::new("types", most::TYPES);
    let mut imports = Counter::new("imports", most::IMPORTS);
    let mut exports = Counter::new("exports", most::EXPORTS);
    let mut globals = Counter::new("globals", most::GLOBALS);
    let mut segments = Counter::new("data and element segments", most::SEGMENTS);
    let mut instances = Counter::new("instances within it", most::INSTANCES);
    // What the section being read stands in, outermost first.
    let mut within: Vec<Encoding> = Vec::new();
    let mut is_component = false;
    let mut has_types = false;
    let mut has_start = false;

    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, range, .. } => {
                is_component |= range.start == 0 && encoding == Encoding::Component;
                within.push(encoding);
                check("components within components", within.len() as u64, most::NESTING)?;
            }
            Payload::End(_) => drop(within.pop()),
            Payload::InstanceSection(section) => instances.add(section.count().into())?,
            Payload::ComponentInstanceSection(section) => instances.add(section.count().into())?,
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    check("strings in UTF-16", u64::from(uses_utf16(&function?)), 0)?;
                }
            }
            Payload::TypeSection(section) => {
                types.add(section.count().into())?;
                for group in section {
                    check("parameters of one function", most_params(&group?), most::PARAMS)?;
                }
            }
            Payload::CoreTypeSection(section) => types.add(section.count().into())?,
            Payload::ComponentTypeSection(section) => types.add(section.count().into())?,
            Payload::ImportSection(section) => imports.add(section.count().into())?,
            Payload::ComponentImportSection(section) => imports.add(section.count().into())?,
            Payload::GlobalSection(section) => globals.add(section.count().into())?,
            Payload::MemorySection(section) => {
                for ty in section {
                    check("bytes of initial memory", ty?.initial.saturating_mul(64 << 10), memory)?;
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let most = TABLE_ELEMENTS as u64;
                    check("elements in one table at first", table?.ty.initial, most)?;
                }
            }
            Payload::ElementSection(section) => segments.add(section.count().into())?,
            Payload::DataSection(section) => segments.add(section.count().into())?,
            Payload::FunctionSection(section) => functions.add(section.count().into())?,
            Payload::ComponentExportSection(section) => {
                exports.add(section.count().into())?;
                for export in section.into_iter().filter(|_| within.len() == 1) {
                    check("bytes in the name of an export", export?.name.name.len() as u64, most::NAME)?;
                }
            }
            Payload::ExportSection(section) => {
                exports.add(section.count().into())?;
                for export in section {
                    let export = export?;
                    if within.len() == 1 {
                        check("bytes in the name of an export", export.name.len() as u64, most::NAME)?;
                    }
                    has_start |= export.name == "_start" && export.kind == ExternalKind::Func;
                }
            }
            Payload::CodeSectionEntry(_) if known => {}
            Payload::CodeSectionEntry(body) => {
                check("bytes in one function", body.range().len() as u64, most::BODY)?;
                let mut locals: u64 = 0;
                for group in body.get_locals_reader()? {
                    locals = locals.saturating_add(group?.0.into());
                }
                check("locals in one function", locals, most::LOCALS)?;
                locals_in_sum.add(locals)?;
                check_instructions(&body)?;
            }
            Payload::CustomSection(section) => has_types |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    Ok(if is_component { Kind::Component } else { Kind::Module { has_types, has_start } })
}

/// What of a function's instructions costs more than their number.
fn check_instructions(body: &FunctionBody<'_>) -> Result<(), Refusal> {
    let mut depth: u64 = 0;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                depth += 1;
                check("blocks within blocks", depth, most::DEPTH)?;
            }
            Operator::End => depth = depth.saturating_sub(1),
            Operator::BrTable { targets } => {
                check("targets of one br_table", targets.len().into(), most::BRANCHES)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The parameters or results of the function type that has most of them.
fn most_params(group: &RecGroup) -> u64 {
    let of_type = |ty: &wasmparser::SubType| match &ty.composite_type.inner {
        CompositeInnerType::Func(function) => function.params().len().max(function.results().len()),
        _ => 0,
    };
    group.types().map(of_type).max().unwrap_or(0) as u64
}

/// Whether a component passes strings in UTF-16. No toolchain needs it, and converting it has been a source of holes.
fn uses_utf16(function: &CanonicalFunction) -> bool {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => options,
        _ => return false,
    };
    options.iter().any(|option| matches!(option, CanonicalOption::UTF16 | CanonicalOption::CompactUTF16))
}

fn invalid(file: &str, error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Invalid { file: file.to_owned(), reason: one_line(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(wat: &str) -> Result<Kind, String> {
        inspect("app.wasm", &wat::parse_str(wat).unwrap(), &Options::default(), false)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_is_recognised_by_its_bytes() {
        let module = |has_types, has_start| Ok(Kind::Module { has_types, has_start });
        assert_eq!(kind("(module)"), module(false, false));
        assert_eq!(kind(r#"(module (func (export "_start")))"#), module(false, true));
        assert_eq!(kind(r#"(module (@custom "component-type:app" "x"))"#), module(true, false));
        assert_eq!(kind("(component)"), Ok(Kind::Component));
        assert_eq!(
            kind(r#"(component (core module (func (export "_start"))))"#),
            Ok(Kind::Component),
            "what is inside a component does not make it a module"
        );
    }

    #[test]
    fn what_is_not_webassembly_is_named() {
        let refusal = |bytes: &[u8]| {
            let options = Options { file: 100, ..Options::default() };
            inspect("app.wasm", bytes, &options, false).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(b"\x7fELF\x02\x01"),
            r#""app.wasm" is not WebAssembly: it begins with "\x7fELF" instead of "\0asm""#
        );
        assert_eq!(refusal(b""), r#""app.wasm" is not WebAssembly: it begins with "" instead of "\0asm""#);
        assert!(refusal(b"\n (module)").contains("text format"));
        assert!(refusal(b"\0asm\x01\0\0\0\x99").contains("not valid"));
        assert_eq!(
            refusal(&[0; 101]),
            r#""app.wasm" has 101 bytes; the largest plugin taken has 100 (--max-plugin-size)"#
        );
    }

    #[test]
    fn what_a_refusal_quotes_of_the_file_is_one_short_line() {
        let name = format!("a\\n\\1b[31m{}", "x".repeat(10_000));
        let twice = format!(r#"(func $f) (export "{name}" (func $f)) (export "{name}" (func $f))"#);
        // Of a module within, which may have long names.
        let refusal = kind(&format!("(component (core module {twice}))")).unwrap_err();
        assert!(refusal.contains("duplicate export name"), "{refusal}");
        assert!(refusal.len() < 1_000 && !refusal.contains(char::is_control), "{refusal:?}");
    }

    #[test]
    fn features_that_compilers_do_not_emit_are_refused() {
        for (feature, wat) in [
            ("memory64", "(module (memory i64 1))"),
            ("multi-memory", "(module (memory 1) (memory 1))"),
            ("shared memory", "(module (memory 1 1 shared))"),
            ("exceptions", "(module (tag))"),
            ("gc", "(module (type (struct (field i32))))"),
            ("function references", "(module (func (param (ref func))))"),
            (
                "relaxed simd",
                "(module (func (param v128) (result v128)
                    (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
            ),
            (
                "wide arithmetic",
                "(module (func (param i64) (result i64 i64)
                    (i64.mul_wide_s (local.get 0) (local.get 0))))",
            ),
            ("custom page sizes", "(module (memory 1 (pagesize 1)))"),
            ("async components", "(component (type (future u8)))"),
        ] {
            let refusal = kind(wat).expect_err(feature);
            assert!(refusal.contains("not valid"), "{feature}: {refusal}");
        }
        assert!(
            kind("(module (func (result i32 i64 v128) (i32.const 1) (i64.const 1) (v128.const i64x2 1 1)))")
                .is_ok()
        );
    }

    #[test]
    fn what_is_costly_to_compile_is_counted_before_compiling() {
        let locals = |n| format!("(module (func (local {})))", "i32 ".repeat(n));
        assert!(kind(&locals(5_000)).is_ok());
        assert_eq!(
            kind(&locals(5_001)).unwrap_err(),
            r#""app.wasm" has 5001 locals in one function; at most 5000 are taken"#
        );
        let many = format!("(module {})", format!("(func (local {}))", "i32 ".repeat(4_999)).repeat(101));
        assert!(kind(&many).unwrap_err().contains("locals in all functions"));
        assert_eq!(
            kind("(module (memory 4096))").unwrap_err(),
            r#""app.wasm" has 268435456 bytes of initial memory; at most 134217728 are taken"#
        );
        let functions = format!("(component (core module {}))", "(func)".repeat(100_001));
        assert!(kind(&functions).unwrap_err().contains("100001 functions"));
        let body = format!("(module (func {}))", "nop ".repeat(1 << 20));
        assert!(kind(&body).unwrap_err().contains("bytes in one function"));
        let blocks = |n| format!("(module (func {} {}))", "block ".repeat(n), "end ".repeat(n));
        assert!(kind(&blocks(5_000)).is_ok());
        assert!(kind(&blocks(5_001)).unwrap_err().contains("5001 blocks within blocks"));
        let table = format!("(module (func (br_table {} (i32.const 0))))", "0 ".repeat(10_002));
        assert!(kind(&table).unwrap_err().contains("targets of one br_table"));
        let params = format!("(module (func (param {})))", "i32 ".repeat(101));
        assert!(kind(&params).unwrap_err().contains("101 parameters of one function"));
        assert!(kind("(module (table 20001 funcref))").unwrap_err().contains("20001 elements in one table"));
        let name = format!(r#"(module (func (export "{}")))"#, "x".repeat(201));
        assert!(kind(&name).unwrap_err().contains("201 bytes in the name of an export"));
    }

    #[test]
    fn components_that_multiply_are_refused_before_compiling() {
        let doubled = |inner: String| {
            format!("(component {inner} (instance (instantiate 0)) (instance (instantiate 0)))")
        };
        let nested = |levels| (0..levels).fold("(component)".to_owned(), |inner, _| doubled(inner));
        assert_eq!(kind(&nested(3)), Ok(Kind::Component));
        assert!(kind(&nested(20)).unwrap_err().contains("components within components"));
        let many = format!("(component (component) {})", "(instance (instantiate 0))".repeat(201));
        assert!(kind(&many).unwrap_err().contains("201 instances"));
    }

    #[test]
    fn strings_in_utf_16_are_refused() {
        let lifted = |encoding: &str| {
            format!(
                r#"(component
                    (core module $m
                        (memory (export "m") 1)
                        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                        (func (export "f") (param i32 i32)))
                    (core instance $i (instantiate $m))
                    (func (export "f") (param "s" string) (canon lift (core func $i "f")
                        (memory $i "m") (realloc (func $i "realloc")) string-encoding={encoding})))"#
            )
        };
        assert_eq!(kind(&lifted("utf8")), Ok(Kind::Component));
        assert!(kind(&lifted("utf16")).unwrap_err().contains("strings in UTF-16"));
    }
}

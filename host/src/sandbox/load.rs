//! From the bytes of a `.wasm` file to a [`Program`] that is ready to run.
//!
//! The four shapes that are taken are told apart by looking at the bytes; nothing of the file is run. Slow (a
//! Python guest takes seconds) and hungry: the caller puts it on a thread where it may block.
//!
//! Invariant: where there are compilers, this process reads nothing of a file beyond its digest until a compiler has read all of
//! it and lived.

use std::{
    any::Any,
    borrow::Cow,
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::ValType;
use wasmtime::{
    Engine, InstancePre, Module,
    component::{Component, types::ComponentItem},
};
use wit_component::ComponentEncoder;

use super::{
    Inner, Options,
    code_cache::{Compiled, Key},
    compile::{self, Compilers, Order},
    engine,
    guest::Guest,
    inspect::{Kind, inspect},
    one_line,
    program::{Code, ComponentFunction, Contents, CoreFunction, Function, Program, Shape},
    signature::{self, Exports, Signature, Skipped},
    wasi,
};
use crate::task::Tenant;

/// Why a file is not a plugin. Each message is one line that its author can act on.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LoadError {
    #[error("{file:?} has {size} bytes; the largest plugin taken has {largest} (--max-plugin-size)")]
    TooLarge { file: String, size: usize, largest: usize },
    #[error(r#"{file:?} is not WebAssembly: it begins with "{start}" instead of "\0asm""#)]
    NotWasm { file: String, start: String },
    #[error("{file:?} is WebAssembly's text format: make a binary of it, for example with wasm-tools parse")]
    TextFormat { file: String },
    #[error("{file:?} is not valid here: {reason}")]
    Invalid { file: String, reason: String },
    #[error("{file:?} has {found} {what}; at most {most} are taken")]
    Limit { file: String, what: Cow<'static, str>, found: u64, most: u64 },
    #[error("{file:?} imports {import:?}, which no one here offers: a plugin can import from {offered}")]
    Import { file: String, import: String, offered: String },
    #[error("{file:?} cannot be linked: {reason}")]
    Link { file: String, reason: String },
    #[error("{file:?} cannot be made a component: {reason}")]
    Encode { file: String, reason: String },
    #[error("the types of {file:?} cannot be read: {reason}")]
    Types { file: String, reason: String },
    #[error("{file:?} offers no task: {reason}")]
    NoTask { file: String, reason: String },
    #[error("{file:?} takes more than {limit} s to compile (--compile-time-limit)")]
    CompileTime { file: String, limit: f64 },
    #[error("{file:?} takes more than {limit} bytes of memory to compile (--compile-memory-limit)")]
    CompileMemory { file: String, limit: u64 },
    #[error("{file:?} ended the process that compiled it: {reason}; please report it with the file")]
    CompileCrash { file: String, reason: String },
    #[error("{file:?} cannot be compiled now: {reason}")]
    NoCompiler { file: String, reason: String },
    #[error("{file:?} made the loader panic: {reason}; please report it with the file")]
    Panic { file: String, reason: String },
}

impl LoadError {
    /// The same of a file with another name.
    pub(super) fn about(mut self, name: &str) -> Self {
        match &mut self {
            Self::TooLarge { file, .. }
            | Self::NotWasm { file, .. }
            | Self::TextFormat { file }
            | Self::Invalid { file, .. }
            | Self::Limit { file, .. }
            | Self::Import { file, .. }
            | Self::Link { file, .. }
            | Self::Encode { file, .. }
            | Self::Types { file, .. }
            | Self::NoTask { file, .. }
            | Self::CompileTime { file, .. }
            | Self::CompileMemory { file, .. }
            | Self::CompileCrash { file, .. }
            | Self::NoCompiler { file, .. }
            | Self::Panic { file, .. } => name.clone_into(file),
        }
        self
    }
}

/// Compiles `wasm` for `tenant`. `file` names it in errors and tracebacks, and a command's task is named like it.
pub(super) fn load(
    sandbox: &Arc<Inner>,
    tenant: &Tenant,
    file: &str,
    wasm: &[u8],
) -> Result<Program, LoadError> {
    let digest: [u8; 32] = Sha256::digest(wasm).into();
    let key = Key::new(tenant, &digest);
    let loader = Loader { sandbox, file, tenant, wasm, digest, key };
    // Hostile bytes go through large libraries here. A panic in one of them must stay with the file that
    // caused it.
    catch_unwind(AssertUnwindSafe(|| loader.load())).unwrap_or_else(|panic| Err(panicked(file, &*panic)))
}

/// The error for a panic in a library that read the file.
pub(super) fn panicked(file: &str, panic: &(dyn Any + Send)) -> LoadError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let reason = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    LoadError::Panic { file: file.to_owned(), reason: one_line(&reason) }
}

/// A file that was read and is not compiled yet.
pub(super) enum Prepared<'a> {
    /// It is or was made a component.
    Component { wasm: Cow<'a, [u8]>, shape: Shape, exports: Exports },
    /// It is a core module without WIT types.
    Module { has_start: bool },
}

/// Reads `wasm` and makes a component of it where it should be one. If it is `known`, it was prepared and compiled before.
pub(super) fn prepare<'a>(
    file: &str,
    wasm: &'a [u8],
    options: &Options,
    known: bool,
) -> Result<Prepared<'a>, LoadError> {
    let (wasm, shape) = match inspect(file, wasm, options, known)? {
        Kind::Component => (Cow::Borrowed(wasm), Shape::Component),
        Kind::Module { has_types: true, has_start } => {
            (Cow::Owned(encode(file, wasm, has_start)?), Shape::CoreModuleWithTypes)
        }
        Kind::Module { has_types: false, has_start } => return Ok(Prepared::Module { has_start }),
    };
    let exports = signature::read_component(&wasm)
        .map_err(|error| LoadError::Types { file: file.to_owned(), reason: one_line(&error) })?;
    check_imports(file, &exports.imports, wasi::PACKAGES, |import| {
        import.split(['/', '@']).next().unwrap_or(import)
    })?;
    Ok(Prepared::Component { wasm, shape, exports })
}

impl Prepared<'_> {
    /// The code of it, for this engine or one like it. `file` is what it was prepared from.
    pub(super) fn precompile(&self, engine: &Engine, file: &[u8]) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Component { wasm, .. } => engine.precompile_component(wasm),
            Self::Module { .. } => engine.precompile_module(file),
        }
    }
}

fn check_imports(
    file: &str,
    imports: &[String],
    offered: &[&str],
    from: impl Fn(&str) -> &str,
) -> Result<(), LoadError> {
    match imports.iter().find(|import| !offered.contains(&from(import))) {
        None => Ok(()),
        Some(import) => Err(LoadError::Import {
            file: file.to_owned(),
            import: one_line(import),
            offered: offered.join(", "),
        }),
    }
}

struct Loader<'a> {
    sandbox: &'a Arc<Inner>,
    file: &'a str,
    tenant: &'a Tenant,
    wasm: &'a [u8],
    digest: [u8; 32],
    key: Key,
}

impl Loader<'_> {
    fn load(&self) -> Result<Program, LoadError> {
        let made = match &self.sandbox.options.compilers {
            Some(compilers) if !self.is_kept() => self.compile_elsewhere(compilers)?,
            _ => None,
        };
        let known = made.is_some() || self.is_kept();
        let contents = match prepare(self.file, self.wasm, &self.sandbox.options, known)? {
            Prepared::Component { wasm, shape, exports } => {
                let component = self.code(made.as_deref(), &wasm)?;
                self.component(&component, shape, exports)?
            }
            Prepared::Module { has_start } => {
                let module = self.code(made.as_deref(), self.wasm)?;
                if has_start { self.command(&module)? } else { self.numbers(&module)? }
            }
        };
        let digest = hex(&self.digest);
        Ok(Program::new(Arc::clone(self.sandbox), self.file(), &digest, contents))
    }

    fn is_kept(&self) -> bool {
        self.sandbox.code_cache.as_ref().is_some_and(|cache| cache.contains(&self.key))
    }

    /// Has it compiled by another process. The code is in the cache then, or comes back where there is none.
    fn compile_elsewhere(&self, compilers: &Compilers) -> Result<Option<Vec<u8>>, LoadError> {
        let options = &self.sandbox.options;
        if self.wasm.len() > options.file {
            let (size, largest) = (self.wasm.len(), options.file);
            return Err(LoadError::TooLarge { file: self.file(), size, largest });
        }
        let order = Order {
            tenant: self.tenant,
            file: self.file,
            wasm: self.wasm,
            digest: self.digest,
            options,
            compatibility: engine::compatibility(&self.sandbox.engine),
        };
        let mut in_memory = None;
        compilers.compile(
            &order,
            || self.is_kept(),
            |code, length| match &self.sandbox.code_cache {
                Some(cache) => cache.keep(&self.key, |file| compile::copy(code, length, file)),
                None => compile::copy(code, length, in_memory.insert(Vec::new())),
            },
        )?;
        Ok(in_memory)
    }

    /// The code of what was prepared, from where it is.
    fn code<C: Compiled>(&self, made: Option<&[u8]>, prepared: &[u8]) -> Result<C, LoadError> {
        let Inner { engine, code_cache, options, .. } = &**self.sandbox;
        if let Some(made) = made {
            // SAFETY: it has just come from a compiler, which this process had started.
            return unsafe { C::read(engine, made) }.map_err(|error| self.invalid(&error));
        }
        if let Some(code) = code_cache.as_ref().and_then(|cache| cache.find(engine, &self.key)) {
            return Ok(code);
        }
        match &options.compilers {
            // What was in the cache could not be used, and is gone.
            Some(compilers) => {
                let made = self.compile_elsewhere(compilers)?;
                // SAFETY: as above.
                let read = |made: Vec<u8>| unsafe { C::read(engine, &made) }.ok();
                let kept = || code_cache.as_ref().and_then(|cache| cache.find(engine, &self.key));
                made.and_then(read).or_else(kept).ok_or_else(|| LoadError::NoCompiler {
                    file: self.file(),
                    reason: "its code cannot be read back".to_owned(),
                })
            }
            None => {
                let code = C::compile(engine, prepared).map_err(|error| self.invalid(&error))?;
                if let Some(cache) = code_cache {
                    cache.keep_compiled(&self.key, &code);
                }
                Ok(code)
            }
        }
    }

    fn component(
        &self,
        component: &Component,
        shape: Shape,
        exports: Exports,
    ) -> Result<Contents, LoadError> {
        let instance =
            self.sandbox.linkers.component.instantiate_pre(component).map_err(|error| self.link(&error))?;
        let Exports { functions, skipped, imports } = exports;
        if functions.is_empty() {
            return match run_export(component) {
                Some(run) => Ok(Contents {
                    shape: Shape::Command,
                    code: Code::CommandComponent { instance, run },
                    functions: vec![self.command_function()],
                    skipped,
                    imports,
                }),
                None => Err(self.no_task("it exports no function", &skipped)),
            };
        }
        let (functions, exports) = functions
            .into_iter()
            .map(|function| {
                let export = self.find(component, &function)?;
                Ok((Function::new(function.signature), export))
            })
            .collect::<Result<_, LoadError>>()?;
        Ok(Contents { shape, code: Code::Component { instance, exports }, functions, skipped, imports })
    }

    /// Where the component keeps a function, so that no run has to look for it.
    fn find(
        &self,
        component: &Component,
        function: &signature::Function,
    ) -> Result<ComponentFunction, LoadError> {
        let found = match &function.interface {
            None => component.get_export(None, function.export.as_str()),
            Some(interface) => component
                .get_export_index(None, interface.as_str())
                .and_then(|interface| component.get_export(Some(&interface), function.export.as_str())),
        };
        match found {
            Some((ComponentItem::ComponentFunc(ty), index)) => {
                Ok(ComponentFunction { index, results: ty.results().len() })
            }
            _ => Err(LoadError::Types {
                file: self.file(),
                reason: format!("it declares the function {:?} without exporting it", function.export),
            }),
        }
    }

    fn command(&self, module: &Module) -> Result<Contents, LoadError> {
        let (imports, instance) = self.module(module)?;
        let start = module.get_export_index("_start").ok_or_else(|| self.no_task("it has no _start", &[]))?;
        Ok(Contents {
            shape: Shape::Command,
            code: Code::Command { instance, start },
            functions: vec![self.command_function()],
            skipped: Vec::new(),
            imports,
        })
    }

    /// A core module without WIT types: its functions that take and return numbers are tasks.
    fn numbers(&self, module: &Module) -> Result<Contents, LoadError> {
        let (imports, instance) = self.module(module)?;
        let mut functions = Vec::new();
        let mut exports = Vec::new();
        let mut skipped = Vec::new();
        let mut names = HashSet::new();
        let mut initialize = None;
        for export in module.exports() {
            let (Some(ty), Some(index)) =
                (export.ty().func().cloned(), module.get_export_index(export.name()))
            else {
                continue;
            };
            let name = export.name();
            if name == "_initialize" {
                initialize = Some(index);
                continue;
            }
            match number_function(name, &ty) {
                Ok(signature) if !names.insert(signature.name.clone()) => {
                    let reason = format!("another function is called {} too", signature.name);
                    skipped.push(Skipped { name: name.to_owned(), reason });
                }
                Ok(signature) => {
                    functions.push(Function::new(signature));
                    exports.push(CoreFunction { index, results: ty.results().len() });
                }
                Err(reason) => skipped.push(Skipped { name: name.to_owned(), reason }),
            }
        }
        if functions.is_empty() {
            return Err(self.no_task(
                "it is a core module without WIT types, without _start, and without an exported function of numbers",
                &skipped,
            ));
        }
        Ok(Contents {
            shape: Shape::Numbers,
            code: Code::Numbers { instance, initialize, exports },
            functions,
            skipped,
            imports,
        })
    }

    fn module(&self, module: &Module) -> Result<(Vec<String>, InstancePre<Guest>), LoadError> {
        let mut imports: Vec<String> = module.imports().map(|import| import.module().to_owned()).collect();
        imports.sort();
        imports.dedup();
        check_imports(self.file, &imports, wasi::MODULES, |import| import)?;
        let instance =
            self.sandbox.linkers.module.instantiate_pre(module).map_err(|error| self.link(&error))?;
        Ok((imports, instance))
    }

    /// The task of a command: named like the file, and open to any arguments.
    fn command_function(&self) -> Function {
        let stem = self.file.strip_suffix(".wasm").unwrap_or(self.file);
        Function::new(Signature {
            name: stem.replace('-', "_"),
            params: Vec::new(),
            rest_args: true,
            rest_kwargs: true,
            result: None,
        })
    }

    fn file(&self) -> String {
        self.file.to_owned()
    }

    fn invalid(&self, error: &wasmtime::Error) -> LoadError {
        LoadError::Invalid { file: self.file(), reason: one_line(&format!("{error:#}")) }
    }

    fn link(&self, error: &wasmtime::Error) -> LoadError {
        LoadError::Link { file: self.file(), reason: one_line(&format!("{error:#}")) }
    }

    fn no_task(&self, reason: &str, skipped: &[Skipped]) -> LoadError {
        let reason = match skipped.first() {
            None => reason.to_owned(),
            Some(first) => format!("{reason} that can be one; {:?} is none: {}", first.name, first.reason),
        };
        LoadError::NoTask { file: self.file(), reason: one_line(&reason) }
    }
}

/// Wraps a core module that carries its WIT types into a component.
pub(super) fn encode(file: &str, wasm: &[u8], has_start: bool) -> Result<Vec<u8>, LoadError> {
    let adapter = match has_start {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    ComponentEncoder::default()
        .module(wasm)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| LoadError::Encode { file: file.to_owned(), reason: one_line(&format!("{error:#}")) })
}

/// The signature of an exported core function, or why it is no task.
fn number_function(name: &str, ty: &wasmtime::FuncType) -> Result<Signature, String> {
    if name.starts_with('_') {
        return Err("a name that begins with an underscore is private".to_owned());
    }
    let numbers = |types: &mut dyn Iterator<Item = wasmtime::ValType>| -> Result<Vec<ValType>, String> {
        types
            .map(|ty| match ty {
                wasmtime::ValType::I32 => Ok(ValType::I32),
                wasmtime::ValType::I64 => Ok(ValType::I64),
                wasmtime::ValType::F32 => Ok(ValType::F32),
                wasmtime::ValType::F64 => Ok(ValType::F64),
                other => Err(format!("{other} is not a number")),
            })
            .collect()
    };
    signature::core_function(name, &numbers(&mut ty.params())?, &numbers(&mut ty.results())?)
}

/// The function that starts a component that is a command.
fn run_export(component: &Component) -> Option<wasmtime::component::ComponentExportIndex> {
    let ty = component.component_type();
    let (name, _) = ty.exports(component.engine()).find(|(name, _)| name.starts_with("wasi:cli/run@"))?;
    let interface = component.get_export_index(None, name)?;
    component.get_export_index(Some(&interface), "run")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

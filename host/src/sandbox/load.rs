//! From the bytes of a `.wasm` file to a [`Program`] that is ready to run.
//!
//! The four shapes that are taken are told apart by looking at the bytes; nothing of the file is run. Slow (a
//! Python guest takes seconds) and hungry: the caller puts it on a thread where it may block.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::ValType;
use wasmtime::{
    InstancePre, Module,
    component::{Component, types::ComponentItem},
};
use wit_component::ComponentEncoder;

use super::{
    Inner,
    code_cache::Compiled,
    guest::Guest,
    inspect::{Kind, inspect},
    one_line,
    program::{Code, ComponentFunction, Contents, CoreFunction, Function, Program, Shape},
    signature::{self, Exports, Signature, Skipped},
    wasi,
};

/// Why a file is not a plugin. Each message is one line that its author can act on.
#[derive(Debug, thiserror::Error)]
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
    Limit { file: String, what: &'static str, found: u64, most: u64 },
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
    #[error("{file:?} made the loader panic: {reason}; please report it with the file")]
    Panic { file: String, reason: String },
}

/// Compiles `wasm`. `file` names it in errors and tracebacks, and a command's task is named like it.
pub(super) fn load(sandbox: &Arc<Inner>, file: &str, wasm: &[u8]) -> Result<Program, LoadError> {
    let loader = Loader { sandbox, file };
    // Hostile bytes go through large libraries here. A panic in one of them must stay with the file that
    // caused it.
    catch_unwind(AssertUnwindSafe(|| loader.load(wasm))).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(LoadError::Panic { file: file.to_owned(), reason: one_line(&reason) })
    })
}

struct Loader<'a> {
    sandbox: &'a Arc<Inner>,
    file: &'a str,
}

impl Loader<'_> {
    fn load(&self, wasm: &[u8]) -> Result<Program, LoadError> {
        let contents = match inspect(self.file, wasm, &self.sandbox.options)? {
            Kind::Component => self.component(wasm, Shape::Component)?,
            Kind::Module { has_types: true, has_start } => {
                self.component(&encode(self.file, wasm, has_start)?, Shape::CoreModuleWithTypes)?
            }
            Kind::Module { has_types: false, has_start: true } => self.command(wasm)?,
            Kind::Module { has_types: false, has_start: false } => self.numbers(wasm)?,
        };
        let digest = hex(&Sha256::digest(wasm));
        Ok(Program::new(Arc::clone(self.sandbox), self.file(), &digest, contents))
    }

    fn component(&self, wasm: &[u8], shape: Shape) -> Result<Contents, LoadError> {
        let exports = signature::read_component(wasm)
            .map_err(|error| LoadError::Types { file: self.file(), reason: one_line(&error) })?;
        self.check_imports(&exports.imports, wasi::PACKAGES, |import| {
            import.split(['/', '@']).next().unwrap_or(import)
        })?;
        let component: Component = self.compiled(wasm)?;
        let instance =
            self.sandbox.linkers.component.instantiate_pre(&component).map_err(|error| self.link(&error))?;
        let Exports { functions, skipped, imports } = exports;
        if functions.is_empty() {
            return match run_export(&component) {
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
                let export = self.find(&component, &function)?;
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

    fn command(&self, wasm: &[u8]) -> Result<Contents, LoadError> {
        let (module, imports, instance) = self.module(wasm)?;
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
    fn numbers(&self, wasm: &[u8]) -> Result<Contents, LoadError> {
        let (module, imports, instance) = self.module(wasm)?;
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

    fn module(&self, wasm: &[u8]) -> Result<(Module, Vec<String>, InstancePre<Guest>), LoadError> {
        let module: Module = self.compiled(wasm)?;
        let mut imports: Vec<String> = module.imports().map(|import| import.module().to_owned()).collect();
        imports.sort();
        imports.dedup();
        self.check_imports(&imports, wasi::MODULES, |import| import)?;
        let instance =
            self.sandbox.linkers.module.instantiate_pre(&module).map_err(|error| self.link(&error))?;
        Ok((module, imports, instance))
    }

    fn compiled<C: Compiled>(&self, wasm: &[u8]) -> Result<C, LoadError> {
        let engine = &self.sandbox.engine;
        match &self.sandbox.code_cache {
            Some(cache) => cache.load(engine, wasm),
            None => C::compile(engine, wasm),
        }
        .map_err(|error| self.invalid(&error))
    }

    fn check_imports(
        &self,
        imports: &[String],
        offered: &[&str],
        from: impl Fn(&str) -> &str,
    ) -> Result<(), LoadError> {
        match imports.iter().find(|import| !offered.contains(&from(import))) {
            None => Ok(()),
            Some(import) => Err(LoadError::Import {
                file: self.file(),
                import: one_line(import),
                offered: offered.join(", "),
            }),
        }
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

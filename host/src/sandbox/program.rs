//! A plugin's code, compiled and linked, with everything about it that one run can share with the next.

use std::{fmt, sync::Arc};

use wasmtime::{
    InstancePre, ModuleExport,
    component::{self, ComponentExportIndex},
};

use super::{
    BadArgument, Inner, convert,
    guest::Guest,
    signature::{Signature, Skipped},
};
use crate::task::Json;

/// A loaded `.wasm` file. Cheap to clone; the clones share the code.
#[derive(Clone)]
pub struct Program {
    pub(super) loaded: Arc<Loaded>,
}

/// What the clones share.
pub(super) struct Loaded {
    pub(super) sandbox: Arc<Inner>,
    /// The file's name, for tracebacks.
    pub(super) file: String,
    pub(super) contents: Contents,
    digest: Arc<str>,
}

/// What was found in the file.
pub(super) struct Contents {
    pub(super) shape: Shape,
    pub(super) code: Code,
    pub(super) functions: Vec<Function>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) imports: Vec<String>,
}

/// A function that can be called as a task.
#[derive(Debug)]
pub struct Function {
    signature: Signature,
}

/// The kinds of `.wasm` files that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A component, as wasm32-wasip2, componentize-py, jco and others make it.
    Component,
    /// A core module for wasm32-wasip1 with WIT types, as wit-bindgen makes it; turned into a component at
    /// load.
    CoreModuleWithTypes,
    /// A WASI program: arguments on standard input, result on standard output.
    Command,
    /// A core module whose functions take and return only numbers.
    Numbers,
}

/// Where the functions are; each list is in the order of [`Program::functions`].
pub(super) enum Code {
    Component {
        instance: component::InstancePre<Guest>,
        exports: Vec<ComponentFunction>,
    },
    CommandComponent {
        instance: component::InstancePre<Guest>,
        run: ComponentExportIndex,
    },
    Command {
        instance: InstancePre<Guest>,
        start: ModuleExport,
    },
    Numbers {
        instance: InstancePre<Guest>,
        /// Called before the function, as reactors of WASI preview 1 ask for.
        initialize: Option<ModuleExport>,
        exports: Vec<CoreFunction>,
    },
}

/// An exported function of a component.
pub(super) struct ComponentFunction {
    pub(super) index: ComponentExportIndex,
    /// How many results it has: 0 or 1.
    pub(super) results: usize,
}

/// An exported function of a core module.
pub(super) struct CoreFunction {
    pub(super) index: ModuleExport,
    /// How many results it has: 0 or 1.
    pub(super) results: usize,
}

impl Program {
    pub(super) fn new(sandbox: Arc<Inner>, file: String, digest: &str, contents: Contents) -> Self {
        let digest = digest.into();
        Self { loaded: Arc::new(Loaded { sandbox, file, contents, digest }) }
    }

    /// The SHA-256 of the file's bytes, in hexadecimal.
    pub fn digest(&self) -> &Arc<str> {
        &self.loaded.digest
    }

    /// Has every guest of this sandbox that computes give its thread back now, as it does at the next tick anyway.
    pub fn interrupt_all(&self) {
        self.loaded.sandbox.engine.increment_epoch();
    }

    /// The largest result of a call, as JSON, in bytes.
    pub fn largest_result(&self) -> usize {
        self.loaded.sandbox.options.result
    }

    /// What kind of file it was.
    pub fn shape(&self) -> Shape {
        self.loaded.contents.shape
    }

    /// The functions that can be run; never empty. [`Program::run`] takes an index into this.
    pub fn functions(&self) -> &[Function] {
        &self.loaded.contents.functions
    }

    /// Whether this function can be called with these arguments: the same that a run finds out before it begins. A command takes
    /// what it is given.
    pub fn check(&self, function: usize, args: &Json, kwargs: &Json) -> Result<(), BadArgument> {
        match self.loaded.contents.code {
            Code::Component { .. } | Code::Numbers { .. } => {
                convert::check(self.functions()[function].signature(), args, kwargs)
            }
            Code::Command { .. } | Code::CommandComponent { .. } => Ok(()),
        }
    }

    /// The exports that cannot be tasks, with the reason.
    pub fn skipped(&self) -> &[Skipped] {
        &self.loaded.contents.skipped
    }

    /// What the program may use of the host. Interpreters import everything, so this is no list of what it
    /// does use.
    pub fn imports(&self) -> &[String] {
        &self.loaded.contents.imports
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?}, {})", self.loaded.file, self.digest())
    }
}

impl Function {
    pub(super) fn new(signature: Signature) -> Self {
        Self { signature }
    }

    /// Its name in snake_case.
    pub fn name(&self) -> &str {
        &self.signature.name
    }

    /// Its name, parameters and result.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "component",
            Self::CoreModuleWithTypes => "core module with types",
            Self::Command => "command",
            Self::Numbers => "core module of numbers",
        })
    }
}

//! Reads the signatures of a component's exports out of its bytes, without running or compiling it.
//!
//! The bytes may be hostile: every function gets either a signature or a reason why it is no task, and a component
//! that the decoder cannot make sense of is one clear error.

use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Write as _},
    panic::catch_unwind,
    sync::Arc,
};

use wasmparser::{Parser, ValType};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, Type as Wit, TypeDefKind, TypeId, TypeOwner, WorldItem};

use super::{
    Case, DEEPEST, Fallible, Field, Int, Labels, Param, Record, Signature, Type, Variant, snake_case,
};

/// The longest text of a signature. Types may share their parts, so a small component can declare a type whose text
/// fills the memory; honest signatures are a line or two.
const LONGEST_TEXT: usize = 4096;

/// The longest name of a function, parameter, field or case, in bytes. Names stand in task names, logs and messages.
const LONGEST_NAME: usize = 200;

/// What a component offers and asks for.
#[derive(Debug)]
pub struct Exports {
    /// The functions that are tasks.
    pub functions: Vec<Function>,
    /// The functions that are not, and why.
    pub skipped: Vec<Skipped>,
    /// The interfaces it asks for, such as `wasi:cli/environment@0.2.6`.
    pub imports: Vec<String>,
}

/// An exported function that is a task.
#[derive(Debug)]
pub struct Function {
    /// The exported interface it belongs to, such as `acme:app/tasks@1.0.0`; `None` for a function of the world.
    pub interface: Option<String>,
    /// Its name in WIT.
    pub export: String,
    /// Its name and types as callers see them.
    pub signature: Signature,
}

/// An exported function that is no task.
#[derive(Debug)]
pub struct Skipped {
    /// Its name in WIT.
    pub name: String,
    /// Why, as a clause that names the parameter.
    pub reason: String,
}

/// Why a component's signatures cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The bytes are a WIT package in binary form, which has types but no code.
    #[error("the file holds only WIT definitions and no code; build the component that implements them")]
    NoCode,
    /// The decoder refused.
    #[error("the component's types are not readable: {0}")]
    Unreadable(String),
}

/// Reads what a component exports and imports. Functions of its world and of the interfaces it exports are tasks,
/// except those of `wasi:*` interfaces, which are there for other hosts.
pub fn read_component(component: &[u8]) -> Result<Exports, SignatureError> {
    // The decoder takes a core module for an empty component.
    if !Parser::is_component(component) {
        return Err(SignatureError::Unreadable("the file is not a component".to_owned()));
    }
    // The decoder asserts that components have the shape that tools give them; bytes from outside may not.
    let decoded = catch_unwind(|| wit_component::decode(component))
        .map_err(|_| SignatureError::Unreadable("the decoder gave up on it".to_owned()))?
        .map_err(|error| SignatureError::Unreadable(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(SignatureError::NoCode);
    };
    let world = &resolve.worlds[world];
    let mut reader = Reader {
        resolve: &resolve,
        types: HashMap::new(),
        names: HashSet::new(),
        functions: Vec::new(),
        skipped: Vec::new(),
    };
    for (key, item) in &world.exports {
        match item {
            WorldItem::Function(function) => reader.export(None, function),
            WorldItem::Interface { id, .. } => {
                let interface = resolve.name_world_key(key);
                if interface.starts_with("wasi:") {
                    continue;
                }
                for function in resolve.interfaces[*id].functions.values() {
                    reader.export(Some(&interface), function);
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
    let imports = world
        .imports
        .iter()
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .collect();
    Ok(Exports { functions: reader.functions, skipped: reader.skipped, imports })
}

/// The signature of an export of a bare core module: numbers only, parameters named `a`, `b` and so on. The error
/// says why the function is no task.
pub fn core_function(name: &str, params: &[ValType], results: &[ValType]) -> Result<Signature, String> {
    let letters_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letters_first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err("its name is not a letter followed by letters, digits, `_` or `-`".to_owned());
    }
    let names = 'a'..='z';
    if params.len() > names.clone().count() {
        return Err(format!("it takes {} parameters, more than 26", params.len()));
    }
    let params = names
        .zip(params)
        .map(|(letter, ty)| match number(*ty) {
            Some(ty) => Ok(Param { name: letter.to_string(), ty }),
            None => Err(format!("parameter `{letter}` is {ty}, which is no number")),
        })
        .collect::<Result<_, _>>()?;
    let result = match results {
        [] => None,
        [ty] => Some(number(*ty).ok_or_else(|| format!("its result is {ty}, which is no number"))?),
        several => return Err(format!("it returns {} values", several.len())),
    };
    let name = python_name(name).map_err(|what| format!("it has {what}"))?;
    Ok(Signature { name, params, rest_args: false, rest_kwargs: false, result })
}

fn number(ty: ValType) -> Option<Type> {
    match ty {
        ValType::I32 => Some(Type::Int(Int::S32)),
        ValType::I64 => Some(Type::Int(Int::S64)),
        ValType::F32 => Some(Type::F32),
        ValType::F64 => Some(Type::F64),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

struct Reader<'a> {
    resolve: &'a Resolve,
    /// Types read before, with their depth: what a component shares is read once.
    types: HashMap<TypeId, (Type, usize)>,
    /// The names of the tasks found so far.
    names: HashSet<String>,
    functions: Vec<Function>,
    skipped: Vec<Skipped>,
}

impl Reader<'_> {
    fn export(&mut self, interface: Option<&str>, function: &wit_parser::Function) {
        match self.signature(function) {
            Ok(signature) => {
                self.names.insert(signature.name.clone());
                self.functions.push(Function {
                    interface: interface.map(str::to_owned),
                    export: function.name.clone(),
                    signature,
                });
            }
            Err(reason) => self.skipped.push(Skipped { name: function.name.clone(), reason }),
        }
    }

    fn signature(&mut self, function: &wit_parser::Function) -> Result<Signature, String> {
        if function.kind.resource().is_some() {
            return Err("it belongs to a resource".to_owned());
        }
        if function.kind.is_async() {
            return Err("it is async".to_owned());
        }
        let name = python_name(&function.name).map_err(|what| format!("it has {what}"))?;
        if self.names.contains(&name) {
            return Err(format!("there is a function `{name}` before it"));
        }
        let mut params = Vec::with_capacity(function.params.len());
        for param in &function.params {
            let name = python_name(&param.name).map_err(|what| format!("it has {what}"))?;
            let (ty, _) =
                self.ty(&param.ty).map_err(|what| format!("parameter `{}` holds {what}", param.name))?;
            params.push(Param { name, ty });
        }
        let result = match &function.result {
            Some(ty) => Some(self.ty(ty).map_err(|what| format!("its result holds {what}"))?.0),
            None => None,
        };
        let rest_kwargs = params.pop_if(|last| last.name == "kwargs" && takes_keywords(&last.ty)).is_some();
        let rest_args = params.pop_if(|last| last.name == "args" && takes_values(&last.ty)).is_some();
        let signature = Signature { name, params, rest_args, rest_kwargs, result };
        write!(Room(LONGEST_TEXT), "{signature}")
            .map_err(|_| format!("its signature is longer than {LONGEST_TEXT} characters"))?;
        Ok(signature)
    }

    /// The type and how deep it is nested, or what in it JSON cannot carry.
    fn ty(&mut self, ty: &Wit) -> Result<(Type, usize), String> {
        let leaf = match ty {
            Wit::Bool => Type::Bool,
            Wit::U8 => Type::Int(Int::U8),
            Wit::U16 => Type::Int(Int::U16),
            Wit::U32 => Type::Int(Int::U32),
            Wit::U64 => Type::Int(Int::U64),
            Wit::S8 => Type::Int(Int::S8),
            Wit::S16 => Type::Int(Int::S16),
            Wit::S32 => Type::Int(Int::S32),
            Wit::S64 => Type::Int(Int::S64),
            Wit::F32 => Type::F32,
            Wit::F64 => Type::F64,
            Wit::Char => Type::Char,
            Wit::String => Type::String,
            Wit::ErrorContext => return Err("an error-context".to_owned()),
            Wit::Id(id) => return self.defined(*id),
        };
        Ok((leaf, 1))
    }

    fn defined(&mut self, mut id: TypeId) -> Result<(Type, usize), String> {
        // A loop and not recursion: a chain of aliases can be as long as the component.
        while let TypeDefKind::Type(target) = &self.resolve.types[id].kind {
            match target {
                _ if self.is_json(id) => return Ok((Type::Json, 1)),
                Wit::Id(next) => id = *next,
                primitive => return self.ty(primitive),
            }
        }
        if let Some(known) = self.types.get(&id) {
            return Ok(known.clone());
        }
        let mut deepest = 0;
        let ty = self.structure(id, &mut deepest)?;
        if deepest >= DEEPEST {
            return Err(format!("a type nested more than {DEEPEST} levels deep"));
        }
        self.types.insert(id, (ty.clone(), deepest + 1));
        Ok((ty, deepest + 1))
    }

    /// The type defined as `id`, which is no alias; `deepest` becomes the depth of its deepest part.
    fn structure(&mut self, id: TypeId, deepest: &mut usize) -> Result<Type, String> {
        let resolve = self.resolve;
        let definition = &resolve.types[id];
        let name = || definition.name.clone().unwrap_or_else(|| definition.kind.as_str().to_owned());
        let mut part = |ty: &Wit| {
            let (ty, depth) = self.ty(ty)?;
            *deepest = depth.max(*deepest);
            Ok::<_, String>(ty)
        };
        Ok(match &definition.kind {
            TypeDefKind::Record(record) => {
                let field = |f: &wit_parser::Field| {
                    let (kebab, snake) = (f.name.clone(), python_name(&f.name)?);
                    Ok::<_, String>(Field { kebab, snake, ty: part(&f.ty)? })
                };
                let fields = record.fields.iter().map(field).collect::<Result<_, _>>()?;
                Type::Record(Arc::new(Record { name: name(), fields }))
            }
            TypeDefKind::Variant(variant) => {
                let case = |c: &wit_parser::Case| {
                    let payload = c.ty.as_ref().map(&mut part).transpose()?;
                    Ok::<_, String>((python_name(&c.name)?, Case { kebab: c.name.clone(), payload }))
                };
                let cases = variant.cases.iter().map(case).collect::<Result<_, _>>()?;
                Type::Variant(Arc::new(Variant { name: name(), cases }))
            }
            TypeDefKind::Enum(of) => {
                let labels = of.cases.iter().map(|case| label(&case.name)).collect::<Result<_, _>>()?;
                Type::Enum(Arc::new(Labels { name: name(), labels }))
            }
            TypeDefKind::Flags(of) => {
                let labels = of.flags.iter().map(|flag| label(&flag.name)).collect::<Result<_, _>>()?;
                Type::Flags(Arc::new(Labels { name: name(), labels }))
            }
            TypeDefKind::Tuple(tuple) => Type::Tuple(tuple.types.iter().map(part).collect::<Result<_, _>>()?),
            TypeDefKind::List(item) => match part(item)? {
                Type::Int(Int::U8) => Type::Bytes,
                item => Type::List(Arc::new(item)),
            },
            TypeDefKind::Option(some) => match part(some)? {
                // JSON has one null, so `none` and `some(none)` would be the same.
                Type::Option(_) => return Err("an option of an option".to_owned()),
                some => Type::Option(Arc::new(some)),
            },
            TypeDefKind::Result(sides) => {
                let ok = sides.ok.as_ref().map(&mut part).transpose()?;
                let err = sides.err.as_ref().map(&mut part).transpose()?;
                Type::Result(Arc::new(Fallible { ok, err }))
            }
            TypeDefKind::Resource | TypeDefKind::Handle(_) => return Err("a resource".to_owned()),
            other => return Err(format!("a {}", other.as_str())),
        })
    }

    /// Whether a definition is the alias `json` of `host:tasks/types`, in whatever version.
    fn is_json(&self, id: TypeId) -> bool {
        let definition = &self.resolve.types[id];
        let TypeOwner::Interface(interface) = definition.owner else { return false };
        let interface = &self.resolve.interfaces[interface];
        let package = interface.package.map(|id| &self.resolve.packages[id].name);
        definition.name.as_deref() == Some("json")
            && interface.name.as_deref() == Some("types")
            && package.is_some_and(|package| package.namespace == "host" && package.name == "tasks")
    }
}

fn label(kebab: &str) -> Result<(String, String), String> {
    Ok((python_name(kebab)?, kebab.to_owned()))
}

fn python_name(kebab: &str) -> Result<String, String> {
    if kebab.len() > LONGEST_NAME {
        return Err(format!("a name longer than {LONGEST_NAME} bytes"));
    }
    Ok(snake_case(kebab))
}

/// Whether a parameter `args` of this type takes the rest of the positional arguments.
fn takes_values(ty: &Type) -> bool {
    matches!(ty, Type::List(item) if matches!(**item, Type::Json))
}

/// Whether a parameter `kwargs` of this type takes the rest of the keyword arguments.
fn takes_keywords(ty: &Type) -> bool {
    let Type::List(item) = ty else { return false };
    matches!(&**item, Type::Tuple(pair) if matches!(**pair, [Type::String, Type::Json]))
}

/// A place to write text to that keeps nothing and is full after so many bytes.
struct Room(usize);

impl fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

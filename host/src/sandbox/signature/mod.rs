//! What a plugin's functions take and return: names and types, as Python users see them.
//!
//! A [`Signature`] is our own model of a function's WIT type, restricted to what JSON can carry. It is read from the
//! component's bytes and not from wasmtime's reflection, which has dropped the names of aliases such as `json` by the
//! time it can be asked. Nothing is run here and no value is converted; that is [`super::convert`].
//!
//! What always holds: a [`Type`] is nested at most [`DEEPEST`] levels, and its parts are shared where the component
//! shares them, so that walking values along types is bounded whatever the plugin says.

mod read;
#[cfg(test)]
pub(super) mod tests;

use std::{fmt, sync::Arc};

use indexmap::IndexMap;

pub use read::{Exports, Function, Skipped, core_function, read_component};

/// The deepest nesting of types that is taken. Conversion recurses this deep on the host's stack; real interfaces
/// stay below ten.
pub const DEEPEST: usize = 64;

/// A function as its callers see it. Its text is what users are shown: `divide(x: f64, y: f64) -> f64`.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The function's name in snake_case.
    pub name: String,
    /// The parameters that have a name, in order. Those that take the rest are not among them.
    pub params: Vec<Param>,
    /// Whether a parameter `args: list<json>` follows, which takes further positional arguments.
    pub rest_args: bool,
    /// Whether a last parameter `kwargs: list<tuple<string, json>>` takes further keyword arguments.
    pub rest_kwargs: bool,
    /// The declared result, if there is one. A `result<T, E>` at this place is success or failure of the task.
    pub result: Option<Type>,
}

/// A named parameter.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its name in snake_case.
    pub name: String,
    /// Its type. A parameter of type `option<T>` may be left out.
    pub ty: Type,
}

/// The WIT value types that JSON can carry.
#[derive(Debug, Clone)]
pub enum Type {
    /// `bool`
    Bool,
    /// `u8` to `s64`
    Int(Int),
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `char`
    Char,
    /// `string`
    String,
    /// `json` of `host:tasks/types`: a string that holds JSON text
    Json,
    /// `list<u8>`
    Bytes,
    /// `list<T>` of anything else
    List(Arc<Type>),
    /// `tuple<...>`
    Tuple(Arc<[Type]>),
    /// `option<T>`
    Option(Arc<Type>),
    /// `result<T, E>`
    Result(Arc<Fallible>),
    /// `record`
    Record(Arc<Record>),
    /// `variant`
    Variant(Arc<Variant>),
    /// `enum`
    Enum(Arc<Labels>),
    /// `flags`
    Flags(Arc<Labels>),
}

/// The integer types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int {
    /// `u8`
    U8,
    /// `u16`
    U16,
    /// `u32`
    U32,
    /// `u64`
    U64,
    /// `s8`
    S8,
    /// `s16`
    S16,
    /// `s32`
    S32,
    /// `s64`
    S64,
}

/// The two sides of a `result`, either of which may carry nothing.
#[derive(Debug)]
pub struct Fallible {
    /// What it carries on success.
    pub ok: Option<Type>,
    /// What it carries on failure.
    pub err: Option<Type>,
}

/// A `record`.
#[derive(Debug)]
pub struct Record {
    /// Its name in WIT.
    pub name: String,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// A field of a record.
#[derive(Debug)]
pub struct Field {
    /// Its name in WIT.
    pub kebab: String,
    /// Its name in Python.
    pub snake: String,
    /// Its type. A field of type `option<T>` may be left out of the JSON object.
    pub ty: Type,
}

/// A `variant`.
#[derive(Debug)]
pub struct Variant {
    /// Its name in WIT.
    pub name: String,
    /// Its cases in order, by their names in Python.
    pub cases: IndexMap<String, Case>,
}

/// A case of a variant.
#[derive(Debug)]
pub struct Case {
    /// Its name in WIT.
    pub kebab: String,
    /// What it carries, if anything.
    pub payload: Option<Type>,
}

/// An `enum` or `flags`.
#[derive(Debug)]
pub struct Labels {
    /// The type's name in WIT.
    pub name: String,
    /// Its labels in order: the name in Python, and in WIT.
    pub labels: IndexMap<String, String>,
}

/// The Python spelling of a WIT name. WIT keeps names apart regardless of case, so no two become one.
pub fn snake_case(kebab: &str) -> String {
    kebab.replace('-', "_").to_ascii_lowercase()
}

impl Int {
    /// The WIT spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::S8 => "s8",
            Self::S16 => "s16",
            Self::S32 => "s32",
            Self::S64 => "s64",
        }
    }
}

impl Signature {
    /// Arguments that the function takes, each as typed on a command line: `["1", "2"]`. `None` if one of them is not
    /// simple enough to be made up.
    pub fn example(&self) -> Option<Vec<String>> {
        let required = self.params.iter().filter(|param| !param.is_optional());
        required.zip(1..).map(|(param, number)| param.ty.example(number)).collect()
    }
}

impl Param {
    /// Whether callers may leave it out.
    pub fn is_optional(&self) -> bool {
        matches!(self.ty, Type::Option(_))
    }
}

impl Type {
    fn example(&self, number: usize) -> Option<String> {
        match self {
            Self::Bool => Some("true".to_owned()),
            Self::Int(_) | Self::F32 | Self::F64 | Self::Json => Some(number.to_string()),
            Self::String => Some("text".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        let mut separator = "";
        for param in &self.params {
            let Param { name, ty } = param;
            write!(f, "{separator}{name}: {ty}")?;
            if param.is_optional() {
                f.write_str(" = none")?;
            }
            separator = ", ";
        }
        for (present, rest) in [(self.rest_args, "*args"), (self.rest_kwargs, "**kwargs")] {
            if present {
                write!(f, "{separator}{rest}")?;
                separator = ", ";
            }
        }
        f.write_str(")")?;
        let returned = match &self.result {
            Some(Type::Result(fallible)) => fallible.ok.as_ref(),
            other => other.as_ref(),
        };
        match returned {
            Some(ty) => write!(f, " -> {ty}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Type {
    /// WIT's own spelling; types that have a name are shown by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(int) => f.write_str(int.name()),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::Json => f.write_str("json"),
            Self::Bytes => f.write_str("list<u8>"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Tuple(items) => {
                let mut separator = "tuple<";
                for item in items.iter() {
                    write!(f, "{separator}{item}")?;
                    separator = ", ";
                }
                f.write_str(">")
            }
            Self::Option(some) => write!(f, "option<{some}>"),
            Self::Result(fallible) => match (&fallible.ok, &fallible.err) {
                (None, None) => f.write_str("result"),
                (Some(ok), None) => write!(f, "result<{ok}>"),
                (None, Some(err)) => write!(f, "result<_, {err}>"),
                (Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
            },
            Self::Record(record) => f.write_str(&record.name),
            Self::Variant(variant) => f.write_str(&variant.name),
            Self::Enum(labels) | Self::Flags(labels) => f.write_str(&labels.name),
        }
    }
}

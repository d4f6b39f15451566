//! One JSON value becomes one WebAssembly value of a given type (`wit/README.md`, column "takes").
//!
//! The type leads: each level of the text is taken apart only as its type asks. On a misfit the reader says what is
//! wrong and each level on the way out adds where, so that a value that fits pays nothing for good messages.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::{
    super::signature::{Case, Field, Int, Labels, Record, Type, Variant},
    parts::{LoneSurrogate, Object, Parts, marker},
};

/// The most memory, in bytes, that the values of one call's arguments may take before they reach the guest. A value takes tens of
/// bytes however short its text is, a field its name besides, and fields that were left out as much without any text.
pub const MOST_MEMORY: usize = 64 << 20;

/// Makes values, and charges them to [`MOST_MEMORY`].
pub struct Reader {
    left: usize,
}

/// Why a JSON value does not fit its type.
#[derive(Debug)]
pub struct Misfit {
    /// The class of Python's built-in exception that tells of it.
    pub class: &'static str,
    /// Where it is, seen from the argument: `.items[3].price`.
    pub path: String,
    /// What is wrong there, as the rest of a sentence: `must be float, not str`.
    pub clause: String,
}

impl Reader {
    /// A reader for the arguments of one call.
    pub fn new() -> Self {
        Self { left: MOST_MEMORY }
    }

    /// The value of type `ty` that `raw` stands for.
    pub fn value(&mut self, raw: &RawValue, ty: &Type) -> Result<Val, Misfit> {
        self.charge(size_of::<Val>())?;
        match ty {
            Type::Json => return Ok(Val::String(raw.get().to_owned())),
            Type::Option(_) if raw.get() == "null" => return Ok(Val::Option(None)),
            Type::Option(some) => return Ok(Val::Option(Some(Box::new(self.value(raw, some)?)))),
            _ => {}
        }
        Ok(match (ty, Parts::of(raw)?) {
            (Type::Bool, Parts::Bool(b)) => Val::Bool(b),
            (Type::Int(int), Parts::Int(digits)) => integer(*int, digits)?,
            (Type::Int(int), Parts::Bool(b)) => integer(*int, if b { "1" } else { "0" })?,
            (Type::F32, Parts::Int(number) | Parts::Float(number)) => {
                Val::Float32(finite(ty, number, number.parse().ok().filter(|f: &f32| f.is_finite()))?)
            }
            (Type::F64, Parts::Int(number) | Parts::Float(number)) => {
                Val::Float64(finite(ty, number, number.parse().ok().filter(|f: &f64| f.is_finite()))?)
            }
            (Type::F32, Parts::Bool(b)) => Val::Float32(b.into()),
            (Type::F64, Parts::Bool(b)) => Val::Float64(b.into()),
            (Type::Char, Parts::String(text)) => Val::Char(character(&text)?),
            (Type::String, Parts::String(text)) => Val::String(text.into_owned()),
            (Type::Bytes, Parts::String(text)) => self.bytes(text.as_bytes())?,
            (Type::Bytes, Parts::List(items)) => self.list(&items, &Type::Int(Int::U8))?,
            (Type::Bytes, parts @ Parts::Object(_)) => self.marked_bytes(&parts)?,
            (Type::List(item), Parts::List(items)) => self.list(&items, item)?,
            (Type::Tuple(types), Parts::List(items)) => self.tuple(&items, types)?,
            (Type::Record(record), Parts::Object(object)) => self.record(&object, record)?,
            (Type::Variant(variant), Parts::String(label)) => bare_case(&label, variant)?,
            (Type::Variant(variant), Parts::Object(object)) => self.case(&object, variant)?,
            (Type::Enum(labels), Parts::String(text)) => Val::Enum(label(&text, labels)?),
            (Type::Flags(labels), Parts::List(items)) => self.flags(&items, labels)?,
            (Type::Result(sides), Parts::Object(object)) => {
                let (side, payload) = single(&object).ok_or_else(|| {
                    Misfit::value("must have one of the keys 'ok' and 'err' and no other".to_owned())
                })?;
                match side {
                    "ok" => Val::Result(Ok(self.side(payload, sides.ok.as_ref(), ".ok")?)),
                    "err" => Val::Result(Err(self.side(payload, sides.err.as_ref(), ".err")?)),
                    other => return Err(Misfit::choice(["ok", "err"], other)),
                }
            }
            (ty, other) => return Err(Misfit::kind(expected(ty), &other)),
        })
    }

    fn list(&mut self, items: &[&RawValue], ty: &Type) -> Result<Val, Misfit> {
        let item = |(i, raw): (usize, &&RawValue)| {
            self.value(raw, ty).map_err(|misfit| misfit.within(&format!("[{i}]")))
        };
        items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Val::List)
    }

    fn tuple(&mut self, items: &[&RawValue], types: &[Type]) -> Result<Val, Misfit> {
        if items.len() != types.len() {
            let (wanted, given) = (types.len(), items.len());
            return Err(Misfit::value(format!("must have {wanted} items, not {given}")));
        }
        let item = |(i, (raw, ty)): (usize, (&&RawValue, &Type))| {
            self.value(raw, ty).map_err(|misfit| misfit.within(&format!("[{i}]")))
        };
        items.iter().zip(types).enumerate().map(item).collect::<Result<_, _>>().map(Val::Tuple)
    }

    fn record(&mut self, object: &Object<'_>, record: &Record) -> Result<Val, Misfit> {
        let known = |key: &str| record.fields.iter().any(|field| field.snake == key);
        let mut fields = Vec::with_capacity(record.fields.len());
        let mut used = 0;
        for Field { kebab, snake, ty } in &record.fields {
            let value = match (object.get(snake.as_str()), ty) {
                (Some(raw), ty) => {
                    used += 1;
                    self.value(raw, ty).map_err(|misfit| misfit.within(&format!(".{snake}")))?
                }
                (None, Type::Option(_)) => {
                    self.charge(size_of::<Val>())?;
                    Val::Option(None)
                }
                (None, _) => return Err(Misfit::kind_of(format!("is missing the key '{snake}'"))),
            };
            self.charge(size_of::<String>() + kebab.len())?;
            fields.push((kebab.clone(), value));
        }
        // Fields have distinct names, so keys are left over exactly when fewer were used than are there.
        if used < object.len()
            && let Some(key) = object.keys().find(|key| !known(key))
        {
            return Err(Misfit::kind_of(format!("has an unexpected key '{}'", shortened(key))));
        }
        Ok(Val::Record(fields))
    }

    fn case(&mut self, object: &Object<'_>, variant: &Variant) -> Result<Val, Misfit> {
        let (label, payload) = single(object)
            .ok_or_else(|| Misfit::value("must have one key, the name of its case".to_owned()))?;
        let case = case_named(label, variant)?;
        match &case.payload {
            Some(ty) => {
                let payload =
                    self.value(payload, ty).map_err(|misfit| misfit.within(&format!(".{label}")))?;
                Ok(Val::Variant(case.kebab.clone(), Some(Box::new(payload))))
            }
            None => Err(Misfit::kind_of(format!("must be just '{label}', a case that carries nothing"))),
        }
    }

    fn side(
        &mut self,
        payload: &RawValue,
        ty: Option<&Type>,
        path: &str,
    ) -> Result<Option<Box<Val>>, Misfit> {
        match ty {
            Some(ty) => Ok(Some(Box::new(self.value(payload, ty).map_err(|misfit| misfit.within(path))?))),
            None if payload.get() == "null" => Ok(None),
            None => Err(Misfit::kind("None", &Parts::of(payload)?).within(path)),
        }
    }

    fn flags(&mut self, items: &[&RawValue], labels: &Labels) -> Result<Val, Misfit> {
        let mut set = Vec::with_capacity(items.len().min(labels.labels.len()));
        for (i, raw) in items.iter().enumerate() {
            let flag = match Parts::of(raw)? {
                Parts::String(text) => label(&text, labels),
                other => Err(Misfit::kind("str", &other)),
            };
            let flag = flag.map_err(|misfit| misfit.within(&format!("[{i}]")))?;
            self.charge(size_of::<String>() + flag.len())?;
            if !set.contains(&flag) {
                set.push(flag);
            }
        }
        Ok(Val::Flags(set))
    }

    fn marked_bytes(&mut self, parts: &Parts<'_>) -> Result<Val, Misfit> {
        let marked = if let Parts::Object(object) = parts { marker(object) } else { None };
        match marked.as_ref().map(|(of, text)| (&**of, text)) {
            Some(("bytes", text)) => self.bytes(text.as_bytes()),
            Some(("base64", text)) => match BASE64_STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => self.bytes(&bytes),
                Err(_) => Err(Misfit::value("is marked as base64 and is not".to_owned())),
            },
            _ => Err(Misfit::kind("bytes", parts)),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Val, Misfit> {
        self.charge(bytes.len().saturating_mul(size_of::<Val>()))?;
        Ok(Val::List(bytes.iter().copied().map(Val::U8).collect()))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Misfit> {
        let clause = || format!("brings the arguments to more than {} MiB in memory", MOST_MEMORY >> 20);
        self.left = self.left.checked_sub(bytes).ok_or_else(|| Misfit::value(clause()))?;
        Ok(())
    }
}

fn integer(int: Int, digits: &str) -> Result<Val, Misfit> {
    let value = digits.parse::<i128>().ok().and_then(|n| match int {
        Int::U8 => n.try_into().ok().map(Val::U8),
        Int::U16 => n.try_into().ok().map(Val::U16),
        Int::U32 => n.try_into().ok().map(Val::U32),
        Int::U64 => n.try_into().ok().map(Val::U64),
        Int::S8 => n.try_into().ok().map(Val::S8),
        Int::S16 => n.try_into().ok().map(Val::S16),
        Int::S32 => n.try_into().ok().map(Val::S32),
        Int::S64 => n.try_into().ok().map(Val::S64),
    });
    value.ok_or_else(|| Misfit::range(int.name(), digits))
}

fn finite<F>(ty: &Type, number: &str, value: Option<F>) -> Result<F, Misfit> {
    value.ok_or_else(|| Misfit::range(&ty.to_string(), number))
}

fn character(text: &str) -> Result<char, Misfit> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) => Ok(c),
        _ => {
            let length = text.chars().count();
            Err(Misfit::kind_of(format!("must be a single character, not a str of length {length}")))
        }
    }
}

fn label(text: &str, labels: &Labels) -> Result<String, Misfit> {
    labels.labels.get(text).cloned().ok_or_else(|| Misfit::choice(labels.labels.keys(), text))
}

fn bare_case(label: &str, variant: &Variant) -> Result<Val, Misfit> {
    let case = case_named(label, variant)?;
    match &case.payload {
        None => Ok(Val::Variant(case.kebab.clone(), None)),
        Some(_) => Err(Misfit::kind_of(format!("must be {{'{label}': ...}}, a case that carries a value"))),
    }
}

fn case_named<'a>(label: &str, variant: &'a Variant) -> Result<&'a Case, Misfit> {
    variant.cases.get(label).ok_or_else(|| Misfit::choice(variant.cases.keys(), label))
}

fn single<'a>(object: &'a Object<'_>) -> Option<(&'a str, &'a RawValue)> {
    let (key, value) = object.first()?;
    (object.len() == 1).then_some((key, value))
}

/// The Python type that callers pass for a WIT type.
fn expected(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int(_) => "int",
        Type::F32 | Type::F64 => "float",
        Type::Char | Type::String | Type::Enum(_) => "str",
        Type::Bytes => "bytes",
        Type::List(_) | Type::Flags(_) => "list",
        Type::Tuple(_) => "tuple",
        Type::Record(_) | Type::Result(_) => "dict",
        Type::Variant(_) => "str or dict",
        // These take whatever comes, or leave it to the type within.
        Type::Json | Type::Option(_) => "object",
    }
}

impl Misfit {
    /// `must be float, not str`
    fn kind(expected: &str, found: &Parts<'_>) -> Self {
        Self::kind_of(format!("must be {expected}, not {}", found.python_type()))
    }

    fn kind_of(clause: String) -> Self {
        Self { class: "TypeError", path: String::new(), clause }
    }

    fn value(clause: String) -> Self {
        Self { class: "ValueError", path: String::new(), clause }
    }

    /// `must be one of 'red', 'blue', not 'green'`
    fn choice<C: fmt::Display>(choices: impl IntoIterator<Item = C>, found: &str) -> Self {
        let mut choices = choices.into_iter();
        let mut listed: Vec<_> = choices.by_ref().take(10).map(|choice| format!("'{choice}'")).collect();
        if choices.next().is_some() {
            listed.push("...".to_owned());
        }
        Self::value(format!("must be one of {}, not '{}'", listed.join(", "), shortened(found)))
    }

    fn range(ty: &str, number: &str) -> Self {
        let clause = format!("is out of range for {ty}: {}", shortened(number));
        Self { class: "OverflowError", path: String::new(), clause }
    }

    /// The same misfit, seen from one level further out.
    fn within(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

impl From<LoneSurrogate> for Misfit {
    fn from(_: LoneSurrogate) -> Self {
        Self::value("has a lone surrogate in it, which is no text".to_owned())
    }
}

/// Text from outside as it may stand in a message: its beginning.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

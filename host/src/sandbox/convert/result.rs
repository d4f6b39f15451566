//! What a function returned becomes the task's result, or the exception that it failed with (`wit/README.md`,
//! columns "gives", and "Errors").
//!
//! JSON is written straight to text and never grows far beyond the limit, however large the value is.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::{
    super::signature::{Record, Signature, Type, Variant, snake_case},
    text::{encode_error, readable, too_large},
};
use crate::task::{Exception, Json};

/// The result in at most `most` bytes of JSON, given the values that the function returned: none or one.
pub fn result(signature: &Signature, values: &[Val], most: usize) -> Result<Json, Exception> {
    match (&signature.result, values.first()) {
        (Some(Type::Result(sides)), Some(Val::Result(Ok(value)))) => {
            json(sides.ok.as_ref(), value.as_deref(), most)
        }
        (Some(Type::Result(sides)), Some(Val::Result(Err(error)))) => {
            let raised = raised(sides.err.as_ref(), error.as_deref(), most);
            Err(raised.unwrap_or_else(|unreadable| unreadable).shortened())
        }
        (ty, value) => json(ty.as_ref(), value, most),
    }
}

fn json(ty: Option<&Type>, value: Option<&Val>, most: usize) -> Result<Json, Exception> {
    let text = match (ty, value) {
        (Some(ty), Some(value)) => Writer::write(ty, value, most)?,
        _ => "null".to_owned(),
    };
    Ok(RawValue::from_string(text).expect("the writer writes JSON"))
}

/// The exception that a returned error stands for, or the one that says why it cannot be told.
fn raised(ty: Option<&Type>, error: Option<&Val>, most: usize) -> Result<Exception, Exception> {
    let (Some(ty), Some(error)) = (ty, error) else {
        return Ok(Exception::builtin("RuntimeError", "task returned an error"));
    };
    Ok(match (ty, error) {
        (Type::Record(record), Val::Record(fields)) => match task_error(record, fields) {
            Some((kind, message)) => Exception::named_by_guest(kind, message),
            None => Exception::named_by_guest(&pascal_case(&record.name), text(ty, error, most)?),
        },
        (Type::Variant(variant), Val::Variant(label, payload)) => {
            let message = match (payload_type(variant, label), payload) {
                (Some(ty), Some(payload)) => text(ty, payload, most)?,
                _ => words(label),
            };
            Exception::named_by_guest(&pascal_case(label), message)
        }
        (_, Val::Enum(label)) => Exception::named_by_guest(&pascal_case(label), words(label)),
        (Type::Flags(labels), _) => {
            Exception::named_by_guest(&pascal_case(&labels.name), text(ty, error, most)?)
        }
        _ => Exception::builtin("RuntimeError", text(ty, error, most)?),
    })
}

/// The two fields of `task-error` of `host:tasks/types`, which is known by its name and shape.
fn task_error<'a>(record: &Record, fields: &'a [(String, Val)]) -> Option<(&'a str, &'a str)> {
    match fields {
        [(kind, Val::String(class)), (message, Val::String(text))]
            if record.name == "task-error" && kind == "kind" && message == "message" =>
        {
            Some((class, text))
        }
        _ => None,
    }
}

/// A value as the message of an exception: text as it is, all else as JSON.
fn text(ty: &Type, value: &Val, most: usize) -> Result<String, Exception> {
    match value {
        Val::String(text) => Ok(text.clone()),
        other => Writer::write(ty, other, most),
    }
}

fn payload_type<'a>(variant: &'a Variant, kebab: &str) -> Option<&'a Type> {
    variant.cases.get(&snake_case(kebab))?.payload.as_ref()
}

/// `not-found` as the name of a Python class: `NotFound`.
fn pascal_case(kebab: &str) -> String {
    kebab.split('-').flat_map(|word| [word[..1].to_ascii_uppercase(), word[1..].to_owned()]).collect()
}

/// `not-found` as a message: `not found`.
fn words(kebab: &str) -> String {
    kebab.replace('-', " ")
}

/// Writes values as JSON.
struct Writer {
    json: Vec<u8>,
    most: usize,
}

impl Writer {
    fn write(ty: &Type, value: &Val, most: usize) -> Result<String, Exception> {
        let mut writer = Self { json: Vec::new(), most };
        writer.value(ty, value)?;
        Ok(String::from_utf8(writer.json).expect("JSON of text is text"))
    }

    fn value(&mut self, ty: &Type, value: &Val) -> Result<(), Exception> {
        match (ty, value) {
            (_, Val::Bool(b)) => self.scalar(b),
            (_, Val::U8(n)) => self.scalar(n),
            (_, Val::U16(n)) => self.scalar(n),
            (_, Val::U32(n)) => self.scalar(n),
            (_, Val::U64(n)) => self.scalar(n),
            (_, Val::S8(n)) => self.scalar(n),
            (_, Val::S16(n)) => self.scalar(n),
            (_, Val::S32(n)) => self.scalar(n),
            (_, Val::S64(n)) => self.scalar(n),
            (_, Val::Float32(f)) if f.is_finite() => self.scalar(f),
            (_, Val::Float64(f)) if f.is_finite() => self.scalar(f),
            (_, Val::Float32(f)) => Err(not_finite(f64::from(*f))),
            (_, Val::Float64(f)) => Err(not_finite(*f)),
            (_, Val::Char(c)) => self.scalar(c),
            (Type::Json, Val::String(text)) => {
                self.room(text.len())?;
                self.text(readable(text)?.get())
            }
            (_, Val::String(text)) => self.string(text),
            (Type::Bytes, Val::List(bytes)) => self.bytes(bytes),
            (Type::List(ty), Val::List(items)) => self.array(items.iter().map(|item| (&**ty, item))),
            (Type::Tuple(types), Val::Tuple(items)) => self.array(types.iter().zip(items)),
            (Type::Record(record), Val::Record(fields)) => {
                let mut separator = "{";
                for (field, (_, value)) in record.fields.iter().zip(fields) {
                    self.text(separator)?;
                    self.entry(&field.snake, &field.ty, value)?;
                    separator = ",";
                }
                self.text("}")
            }
            (Type::Variant(variant), Val::Variant(label, payload)) => {
                match (payload_type(variant, label), payload) {
                    (Some(ty), Some(payload)) => self.tagged(&snake_case(label), ty, payload),
                    _ => self.string(&snake_case(label)),
                }
            }
            (_, Val::Enum(label)) => self.string(&snake_case(label)),
            (_, Val::Flags(labels)) => {
                let labels: Vec<_> = labels.iter().map(|label| snake_case(label)).collect();
                self.scalar(&labels)
            }
            (_, Val::Option(None)) => self.text("null"),
            (Type::Option(ty), Val::Option(Some(value))) => self.value(ty, value),
            (Type::Result(sides), Val::Result(result)) => {
                let (side, ty, payload) = match result {
                    Ok(payload) => ("ok", &sides.ok, payload),
                    Err(payload) => ("err", &sides.err, payload),
                };
                match (ty, payload) {
                    (Some(ty), Some(payload)) => self.tagged(side, ty, payload),
                    _ => self.text(&format!(r#"{{"{side}":null}}"#)),
                }
            }
            // The signature was read from the very bytes that ran, so that this is the host's mistake.
            _ => Err(Exception::builtin("SystemError", format!("the task returned a value that is no {ty}"))),
        }
    }

    fn array<'a>(&mut self, items: impl Iterator<Item = (&'a Type, &'a Val)>) -> Result<(), Exception> {
        self.text("[")?;
        for (i, (ty, item)) in items.enumerate() {
            if i > 0 {
                self.text(",")?;
            }
            self.value(ty, item)?;
        }
        self.text("]")
    }

    /// An object of one key.
    fn tagged(&mut self, key: &str, ty: &Type, value: &Val) -> Result<(), Exception> {
        self.text("{")?;
        self.entry(key, ty, value)?;
        self.text("}")
    }

    fn entry(&mut self, key: &str, ty: &Type, value: &Val) -> Result<(), Exception> {
        self.string(key)?;
        self.text(":")?;
        self.value(ty, value)
    }

    /// Bytes in the form in which Kombu sends them, so that the caller gets `bytes`.
    fn bytes(&mut self, values: &[Val]) -> Result<(), Exception> {
        self.room(values.len())?;
        let byte = |value: &Val| if let Val::U8(byte) = value { Some(*byte) } else { None };
        let bytes: Vec<u8> = values.iter().filter_map(byte).collect();
        let (marker, text) = match String::from_utf8(bytes) {
            Ok(text) => ("bytes", text),
            Err(binary) => ("base64", BASE64_STANDARD.encode(binary.as_bytes())),
        };
        self.text(&format!(r#"{{"__type__":"{marker}","__value__":"#))?;
        self.string(&text)?;
        self.text("}")
    }

    fn string(&mut self, text: &str) -> Result<(), Exception> {
        self.room(text.len())?;
        self.scalar(text)
    }

    fn text(&mut self, text: &str) -> Result<(), Exception> {
        self.room(text.len())?;
        self.json.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Writes what `serde_json` writes for it: floats in the shortest form that reads back the same, and as floats.
    fn scalar<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Exception> {
        serde_json::to_writer(&mut self.json, value)
            .expect("plain values have a JSON form, and memory takes it");
        self.room(0)
    }

    /// Checks that so many bytes more are within the limit.
    fn room(&self, more: usize) -> Result<(), Exception> {
        let size = self.json.len() + more;
        if size > self.most { Err(too_large(size, self.most)) } else { Ok(()) }
    }
}

/// What Python's strict encoder says of NaN and infinities.
fn not_finite(float: f64) -> Exception {
    let name = match float {
        f64::INFINITY => "inf",
        f64::NEG_INFINITY => "-inf",
        _ => "nan",
    };
    encode_error(format!("Out of range float values are not JSON compliant: {name}"))
}

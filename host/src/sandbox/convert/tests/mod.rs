//! The table of `wit/README.md`, row by row, and its rules about arguments and errors.

mod call;
mod errors;
mod table;
mod text;

use wasmtime::component::Val;

use super::{super::signature::Signature, arguments, check, result};
use crate::task::{Exception, Json};

/// Large enough for all but the tests about the limit.
const MOST: usize = 1 << 20;

/// The types that the tests' functions use.
const TYPES: &str = "
    use host:tasks/types@0.1.0.{json, task-error};
    record item { price: f64, item-no: option<u32> }
    record order { items: list<item> }
    variant shape { unit-square, circle(f64), poly-line(list<s8>) }
    enum colour { dark-red, blue }
    flags access { may-read, may-write }
    variant problem { not-found, value-error(string), too-big(item) }
    enum refusal { card-declined, time-out }
";

/// The signature of `f: func` and what follows it.
fn signature(rest: &str) -> Signature {
    let world = format!("{TYPES} export f: func{rest};");
    let mut read = super::super::signature::tests::exports(&world);
    assert!(read.skipped.is_empty(), "{:?}", read.skipped);
    read.functions.remove(0).signature
}

fn json(text: &str) -> Json {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

/// `TypeError: f() takes ...`, and with its module where that is not `builtins`.
fn told(exception: Exception) -> String {
    let message = exception.message();
    match &*exception.module {
        "builtins" => format!("{}: {message}", exception.class),
        module => format!("{module}.{}: {message}", exception.class),
    }
}

/// What a parameter `x` of this type becomes when it is given this JSON.
fn taken(ty: &str, given: &str) -> Result<Val, String> {
    let signature = signature(&format!("(x: {ty})"));
    let values = arguments(&signature, &json(&format!("[{given}]")), &json("{}")).map_err(told)?;
    let [value] = <[Val; 1]>::try_from(values).unwrap();
    Ok(value)
}

/// The JSON that a result of this type becomes.
fn given(ty: &str, value: Val) -> Result<String, String> {
    result(&signature(&format!("() -> {ty}")), &[value], MOST).map(|json| json.get().to_owned()).map_err(told)
}

/// Asserts what each JSON text becomes, and that a value goes back to the text last in its row.
#[track_caller]
fn row(ty: &str, fits: &[(&str, Val)], back: &[(Val, &str)], misfits: &[(&str, &str)]) {
    for (text, value) in fits {
        assert_eq!(taken(ty, text).as_ref(), Ok(value), "{ty} takes {text}");
    }
    for (value, text) in back {
        assert_eq!(given(ty, value.clone()).as_deref(), Ok(*text), "{ty} gives {value:?}");
    }
    for (text, message) in misfits {
        let (class, clause) = message.split_once(": ").unwrap();
        let message = format!("{class}: f() argument 'x{clause}");
        assert_eq!(taken(ty, text), Err(message), "{ty} refuses {text}");
    }
}

fn string(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn some(value: Val) -> Val {
    Val::Option(Some(Box::new(value)))
}

fn record(fields: &[(&str, Val)]) -> Val {
    Val::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn case(name: &str, payload: Option<Val>) -> Val {
    Val::Variant(name.to_owned(), payload.map(Box::new))
}

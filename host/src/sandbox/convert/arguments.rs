//! Binds a message's `args` and `kwargs` to a function's parameters, as a Python call does.
//!
//! Where CPython has an error for it, the message is CPython's to the letter, and of several errors the one that
//! CPython raises is raised. Values are converted by [`super::value`], once all of them are bound.

use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::{
    super::signature::{Param, Signature},
    parts::{Object, Parts},
    value::{Misfit, Reader, shortened},
};
use crate::task::{Exception, Json};

/// The most positional and the most keyword arguments of a call. More is an attack or a mistake; long data goes
/// into one argument.
const MOST_ARGUMENTS: usize = 1000;

/// Why a function cannot be called with these arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct BadArgument {
    /// The parameter that it is about, if it is about one.
    pub parameter: Option<String>,
    /// What the caller of the task would read.
    pub exception: Exception,
}

/// The values to call the function with: its parameters in order, then the rest of the positional arguments and the rest
/// of the keyword arguments, where it takes them.
pub fn arguments(signature: &Signature, args: &Json, kwargs: &Json) -> Result<Vec<Val>, Exception> {
    values(signature, args, kwargs).map_err(|bad| bad.exception)
}

/// Whether the function can be called with these arguments.
pub fn check(signature: &Signature, args: &Json, kwargs: &Json) -> Result<(), BadArgument> {
    values(signature, args, kwargs).map(drop)
}

fn values(signature: &Signature, args: &Json, kwargs: &Json) -> Result<Vec<Val>, BadArgument> {
    let bound = bind(signature, args, kwargs)?;
    let mut reader = Reader::new();
    let mut values = Vec::with_capacity(signature.params.len() + 2);
    for (Param { name, ty }, raw) in signature.params.iter().zip(bound.named) {
        values.push(match raw {
            Some(raw) => reader.value(raw, ty).map_err(|misfit| refused(signature, name, misfit))?,
            None => Val::Option(None),
        });
    }
    if signature.rest_args {
        let rest = bound.rest.into_iter().map(json).collect();
        values.push(Val::List(rest));
    }
    if signature.rest_kwargs {
        let pair = |(name, raw): (_, _)| Val::Tuple(vec![Val::String(String::from(name)), json(raw)]);
        values.push(Val::List(bound.keywords.into_iter().map(pair).collect()));
    }
    Ok(values)
}

fn json(raw: &RawValue) -> Val {
    Val::String(raw.get().to_owned())
}

fn refused(signature: &Signature, name: &str, misfit: Misfit) -> BadArgument {
    let Misfit { class, path, clause } = misfit;
    let exception =
        Exception::builtin(class, format!("{}() argument '{name}{path}' {clause}", signature.name));
    BadArgument { parameter: Some(format!("{name}{path}")), exception }
}

/// Which text goes to which parameter.
struct Bound<'a> {
    /// For each parameter its value; `None` only where it may be left out.
    named: Vec<Option<&'a RawValue>>,
    /// Further positional arguments; empty unless the function takes them.
    rest: Vec<&'a RawValue>,
    /// Further keyword arguments; empty unless the function takes them.
    keywords: Object<'a>,
}

/// In CPython's order: positional arguments to their places, keywords to theirs, then too many, then too few.
fn bind<'a>(signature: &Signature, args: &'a Json, kwargs: &'a Json) -> Result<Bound<'a>, BadArgument> {
    let Signature { name, params, .. } = signature;
    let about = |parameter: Option<&str>, clause: String| BadArgument {
        parameter: parameter.map(str::to_owned),
        exception: Exception::builtin("TypeError", format!("{name}() {clause}")),
    };
    let type_error = |clause: String| about(None, clause);
    let positional = match Parts::of(args) {
        Ok(Parts::List(items)) => items,
        _ => return Err(type_error("argument after * must be an iterable".to_owned())),
    };
    let keywords = match Parts::of(kwargs) {
        Ok(Parts::Object(object)) => object,
        Ok(_) => return Err(type_error("argument after ** must be a mapping".to_owned())),
        Err(_) => {
            let message = format!("{name}() got a keyword argument with a lone surrogate in its name");
            let exception = Exception::builtin("ValueError", message);
            return Err(BadArgument { parameter: None, exception });
        }
    };
    let given = positional.len();
    for (given, kind) in [(given, "positional"), (keywords.len(), "keyword")] {
        if given > MOST_ARGUMENTS {
            let clause = format!("takes at most {MOST_ARGUMENTS} {kind} arguments but {given} were given");
            return Err(type_error(clause));
        }
    }

    let mut places = positional.into_iter();
    let mut named: Vec<_> = params.iter().map(|_| places.next()).collect();
    let mut bound_rest = Object::new();
    for (key, value) in keywords {
        match params.iter().position(|param| param.name == key) {
            Some(place) if named[place].is_some() => {
                return Err(about(Some(&key), format!("got multiple values for argument '{key}'")));
            }
            Some(place) => named[place] = Some(value),
            None if signature.rest_kwargs => {
                bound_rest.insert(key, value);
            }
            None => {
                let key = shortened(&key);
                return Err(about(Some(&key), format!("got an unexpected keyword argument '{key}'")));
            }
        }
    }
    if places.len() > 0 && !signature.rest_args {
        return Err(type_error(too_many(params, given)));
    }
    let absent: Vec<_> = params
        .iter()
        .zip(&named)
        .filter(|(param, value)| value.is_none() && !param.is_optional())
        .map(|(param, _)| param.name.as_str())
        .collect();
    if let Some(first) = absent.first() {
        return Err(about(Some(first), missing(&absent)));
    }
    Ok(Bound { named, rest: places.collect(), keywords: bound_rest })
}

fn too_many(params: &[Param], given: usize) -> String {
    let most = params.len();
    let least = params.iter().filter(|param| !param.is_optional()).count();
    let (takes, plural) =
        if least < most { (format!("from {least} to {most}"), true) } else { (most.to_string(), most != 1) };
    let (s, were) = (if plural { "s" } else { "" }, if given == 1 { "was" } else { "were" });
    format!("takes {takes} positional argument{s} but {given} {were} given")
}

fn missing(absent: &[&str]) -> String {
    let quoted: Vec<_> = absent.iter().map(|name| format!("'{name}'")).collect();
    let s = if quoted.len() == 1 { "" } else { "s" };
    let names = match quoted.as_slice() {
        [one, two] => format!("{one} and {two}"),
        [first @ .., last] if !first.is_empty() => format!("{}, and {last}", first.join(", ")),
        one => one.concat(),
    };
    format!("missing {} required positional argument{s}: {names}", quoted.len())
}

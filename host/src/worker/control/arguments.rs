//! What a request brings: named values of any JSON type, taken by what they should be. What is not asked for is ignored.

use serde_json::{Map, Value};

use super::raised::Raised;
use crate::task::{OwnedTask, QueueName};

/// The arguments of one request.
pub(super) struct Arguments<'a> {
    method: &'a str,
    given: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    /// The arguments of `method`, which must be an object.
    pub fn new(method: &'a str, given: &'a Value) -> Result<Self, Raised> {
        match given {
            Value::Object(given) => Ok(Self { method, given }),
            other => {
                let text = format!("argument after ** must be a mapping, not {}", type_of(other));
                Err(Raised::new("TypeError", text))
            }
        }
    }

    /// Whether all of these are given; else what Python says of a call without them.
    pub fn require(&self, names: &[&str]) -> Result<(), Raised> {
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !self.given.contains_key(**name))
            .map(|name| format!("'{name}'"))
            .collect();
        let told = match &missing[..] {
            [] => return Ok(()),
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [most @ .., last] => format!("{}, and {last}", most.join(", ")),
        };
        let (method, count) = (self.method, missing.len());
        let plural = if count == 1 { "" } else { "s" };
        let text = format!("{method}() missing {count} required positional argument{plural}: {told}");
        Err(Raised::new("TypeError", text))
    }

    /// A value that is given and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    /// A text, or `default` when there is none.
    pub fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, Raised> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, "a str", other)),
        }
    }

    /// A truth as Celery's clients send it: also as 0 and 1, and as the command line writes it.
    pub fn flag(&self, name: &str) -> Result<bool, Raised> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" | "on" => Ok(true),
                "false" | "no" | "0" | "off" | "" => Ok(false),
                _ => Err(Raised::new(
                    "TypeError",
                    format!("Cannot coerce '{}' to type bool", super::shown(text)),
                )),
            },
            Some(other) => Err(self.wrong(name, "a bool", other)),
        }
    }

    /// A number of things; `None` when there is none.
    pub fn count(&self, name: &str) -> Result<Option<usize>, Raised> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64(),
        };
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, "a whole number, not negative", value)),
        }
    }

    /// A number of seconds; `None` when there is none.
    pub fn seconds(&self, name: &str) -> Result<Option<std::time::Duration>, Raised> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_f64(),
        };
        match number.and_then(|number| std::time::Duration::try_from_secs_f64(number).ok()) {
            Some(time) => Ok(Some(time).filter(|time| !time.is_zero())),
            None => Err(self.wrong(name, "a number of seconds", value)),
        }
    }

    /// Texts: a list of them, or a single one. Nothing is an empty list.
    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>, Raised> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => {
                let text =
                    |value: &'a Value| value.as_str().ok_or_else(|| self.wrong(name, "a list of str", value));
                values.iter().map(text).collect()
            }
            Some(other) => Err(self.wrong(name, "a list of str", other)),
        }
    }

    /// The name of a task, as operators write it. `None` when no task can have it.
    pub fn task(&self, name: &str) -> Result<Option<OwnedTask>, Raised> {
        Ok(OwnedTask::named(self.text_or(name, "")?).ok())
    }

    /// The name of a queue.
    pub fn queue(&self, name: &str) -> Result<QueueName, Raised> {
        QueueName::new(self.text_or(name, "")?).map_err(|error| Raised::value(error.to_string()))
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> Raised {
        let (method, found) = (self.method, type_of(found));
        Raised::new("TypeError", format!("{method}() argument '{name}' must be {expected}, not {found}"))
    }
}

/// The type of a value, by Python's name.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_told_as_python_does() {
        let none = json!({});
        let arguments = Arguments::new("f", &none).unwrap();
        for (names, expected) in [
            (&["a"][..], "TypeError(\"f() missing 1 required positional argument: 'a'\")"),
            (&["a", "b"], "TypeError(\"f() missing 2 required positional arguments: 'a' and 'b'\")"),
            (
                &["a", "b", "c"],
                "TypeError(\"f() missing 3 required positional arguments: 'a', 'b', and 'c'\")",
            ),
        ] {
            assert_eq!(arguments.require(names).unwrap_err().repr(), expected);
        }
        let some = json!({"a": null, "b": 1});
        assert_eq!(Arguments::new("f", &some).unwrap().require(&["a", "b"]), Ok(()));
    }

    #[test]
    fn values_are_taken_for_what_they_should_be_or_refused() {
        let given = json!({
            "text": "x", "texts": ["x", "y"], "mixed": ["x", 1], "true": 1, "false": 0, "yes": "yes",
            "three": 3, "3": "3", "half": 0.5, "minus": -1, "zero": 0.0, "huge": 1e300, "dict": {}, "null": null,
        });
        let arguments = Arguments::new("f", &given).unwrap();
        assert_eq!((arguments.text_or("text", ""), arguments.text_or("null", "d")), (Ok("x"), Ok("d")));
        assert!(arguments.text_or("three", "").is_err());
        assert_eq!((arguments.texts("text"), arguments.texts("texts")), (Ok(vec!["x"]), Ok(vec!["x", "y"])));
        assert!(arguments.texts("mixed").is_err() && arguments.texts("dict").is_err());
        for (name, flag) in [("true", true), ("false", false), ("yes", true), ("null", false), ("no", false)]
        {
            assert_eq!(arguments.flag(name), Ok(flag), "{name}");
        }
        assert!(arguments.flag("text").is_err() && arguments.flag("dict").is_err());
        assert_eq!((arguments.count("three"), arguments.count("3")), (Ok(Some(3)), Ok(Some(3))));
        for name in ["half", "minus", "huge", "dict", "text"] {
            assert!(arguments.count(name).is_err(), "{name}");
        }
        let seconds = |seconds: f64| Ok(Some(std::time::Duration::from_secs_f64(seconds)));
        assert_eq!((arguments.seconds("half"), arguments.seconds("3")), (seconds(0.5), seconds(3.0)));
        assert_eq!((arguments.seconds("zero"), arguments.seconds("null")), (Ok(None), Ok(None)));
        assert!(arguments.seconds("minus").is_err() && arguments.seconds("huge").is_err());
        for other in [json!([]), json!("x"), json!(1)] {
            assert!(Arguments::new("f", &other).is_err(), "{other}");
        }
    }
}

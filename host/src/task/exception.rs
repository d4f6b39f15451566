//! The exception that a caller sees when a task did not succeed.

use serde_json::Value;

use super::builtins;

/// A Python exception: what `AsyncResult.result` becomes in the caller.
///
/// The caller's Celery rebuilds it by looking `class` up in `module` among the modules it has imported
/// (celery-protocol.md, 3.4). Text from a guest must go through [`Exception::named_by_guest`], which lets it name
/// nothing that could harm the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    /// The class's name: `ZeroDivisionError`.
    pub class: String,
    /// The module it is looked up in: `builtins`.
    pub module: String,
    /// The arguments its constructor is called with.
    pub args: Vec<Value>,
}

/// The module given to exceptions that guests invent. No client has a module of this name, so the client
/// makes a new subclass of `Exception` for each.
const GUEST_MODULE: &str = "host.guest";

impl Exception {
    /// A built-in exception with a message: `Exception::builtin("TypeError", "…")`.
    pub fn builtin(class: &str, message: impl Into<String>) -> Self {
        Self::new("builtins", class, vec![Value::String(message.into())])
    }

    /// An exception of the given module, class and constructor arguments.
    pub fn new(module: &str, class: &str, args: Vec<Value>) -> Self {
        Self { class: class.to_owned(), module: module.to_owned(), args }
    }

    /// The exception that a guest asked for by name. A name that is no Python identifier becomes `TaskError`.
    pub fn named_by_guest(kind: &str, message: impl Into<String>) -> Self {
        let args = vec![Value::String(message.into())];
        if builtins::is_builtin(kind) {
            return Self::new("builtins", kind, args);
        }
        let identifier = kind.len() <= 100
            && kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        Self::new(GUEST_MODULE, if identifier { kind } else { "TaskError" }, args)
    }

    /// Whether a Python worker would catch it by `except kind`. `kind` is the name of a class, alone or after its module
    /// (`shop.CardDeclined`); every exception is an `Exception`.
    pub fn is_a(&self, kind: &str) -> bool {
        if self.module == "builtins" {
            let kind = kind.strip_prefix("builtins.").unwrap_or(kind);
            return builtins::is_kind_of(&self.class, kind);
        }
        let qualified = || kind.strip_prefix(self.module.as_str())?.strip_prefix('.');
        kind == "Exception" || kind == self.class || qualified() == Some(self.class.as_str())
    }

    /// Whether the run was stopped at its hard time limit.
    pub fn is_hard_limit(&self) -> bool {
        self.module == "billiard.exceptions" && self.class == "TimeLimitExceeded"
    }

    /// The same with texts of at most 8 KiB. What a guest says goes to every reader of the result.
    pub fn shortened(mut self) -> Self {
        for arg in &mut self.args {
            if let Value::String(text) = arg {
                *text = cut(text);
            }
        }
        self
    }

    /// The text that Python's `str(exception)` gives for the usual exception with one text argument.
    pub fn message(&self) -> String {
        match self.args.as_slice() {
            [] => String::new(),
            [Value::String(text)] => text.clone(),
            [one] => one.to_string(),
            several => Value::from(several.to_vec()).to_string(),
        }
    }
}

/// The text, or its first 8 KiB with a mark.
fn cut(text: &str) -> String {
    const LONGEST: usize = 8 << 10;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(LONGEST)];
    format!("{kept}…[cut: {} bytes]", text.len() - kept.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_name_builtins_and_its_own_but_nothing_that_harms_the_caller() {
        let module = |kind| {
            let e = Exception::named_by_guest(kind, "m");
            format!("{}.{}", e.module, e.class)
        };
        assert_eq!(module("ZeroDivisionError"), "builtins.ZeroDivisionError");
        assert_eq!(module("CardDeclined"), "host.guest.CardDeclined");
        assert_eq!(module("SystemExit"), "host.guest.SystemExit");
        assert_eq!(module("os.system"), "host.guest.TaskError");
        assert_eq!(module("__class__"), "host.guest.TaskError");
        assert_eq!(module(""), "host.guest.TaskError");
    }

    #[test]
    fn an_exception_is_what_python_would_catch_it_as() {
        let refused = Exception::builtin("ConnectionRefusedError", "no");
        let declined = Exception::named_by_guest("CardDeclined", "no");
        let soft = Exception::new("billiard.exceptions", "SoftTimeLimitExceeded", vec![]);
        for (exception, kind, expected) in [
            (&refused, "OSError", true),
            (&refused, "builtins.OSError", true),
            (&refused, "Exception", true),
            (&refused, "ValueError", false),
            (&refused, "shop.OSError", false),
            (&declined, "CardDeclined", true),
            (&declined, "host.guest.CardDeclined", true),
            (&declined, "shop.CardDeclined", false),
            (&declined, "host.guestCardDeclined", false),
            (&declined, "Exception", true),
            (&declined, "RuntimeError", false),
            (&soft, "SoftTimeLimitExceeded", true),
            (&soft, "billiard.exceptions.SoftTimeLimitExceeded", true),
        ] {
            assert_eq!(exception.is_a(kind), expected, "{exception:?} {kind}");
        }
    }
}

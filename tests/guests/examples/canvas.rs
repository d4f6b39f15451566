//! What canvases are made of; what each function does is said in `wit/canvas.wit`. `tests/python/canvas.py` is the same in
//! Python and gives the same results to the last character.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::Value;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/canvas", generate_all });

struct Canvas;

export!(Canvas);

impl Guest for Canvas {
    fn add(x: i64, y: i64) -> i64 {
        x + y
    }

    fn mul(x: i64, y: i64) -> i64 {
        x * y
    }

    fn tsum(numbers: Vec<i64>) -> i64 {
        numbers.iter().sum()
    }

    fn call(args: Vec<String>, kwargs: Vec<(String, String)>) -> String {
        let (label, rest) = begin("call", &kwargs);
        let args = args.iter().map(|value| render(&parse(value)));
        let kwargs = rest.iter().map(|(name, value)| format!("{name}={}", render(value)));
        let words: Vec<_> = args.chain(kwargs).collect();
        shortened(format!("{label}({})", words.join(",")))
    }

    fn fail(_: Vec<String>, kwargs: Vec<(String, String)>) -> Result<String, TaskError> {
        let (message, _) = begin("fail", &kwargs);
        Err(TaskError { kind: "ValueError".to_owned(), message })
    }

    fn note_error(id: String, kwargs: Vec<(String, String)>) -> String {
        let (label, _) = begin("note_error", &kwargs);
        format!("{label}({id})")
    }
}

/// Takes out the two keyword arguments that every such task has, and sleeps as long as one of them says. Returns the label
/// and the other keyword arguments by their names.
fn begin(default_label: &str, kwargs: &[(String, String)]) -> (String, BTreeMap<String, Value>) {
    let mut kwargs: BTreeMap<_, _> =
        kwargs.iter().map(|(name, value)| (name.clone(), parse(value))).collect();
    let label = kwargs.remove("label").map_or_else(|| default_label.to_owned(), |label| render(&label));
    let seconds = kwargs.remove("sleep").and_then(|seconds| seconds.as_f64()).unwrap_or_default();
    thread::sleep(Duration::from_secs_f64(seconds));
    (label, kwargs)
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("the host gives JSON")
}

fn render(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(render).collect::<Vec<_>>().join(",")),
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.iter().collect();
            let words: Vec<_> =
                sorted.iter().map(|(name, value)| format!("{name}:{}", render(value))).collect();
            format!("{{{}}}", words.join(","))
        }
        other => other.to_string(),
    }
}

/// Where each of many tasks gets the results of many, texts would grow out of hand. The hash is FNV-1a.
fn shortened(text: String) -> String {
    if text.len() <= 400 {
        return text;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{}#{hash:016x}", &text[..60])
}

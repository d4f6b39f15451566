//! `wit/manifest.schema.json` takes what the parser takes. The checker here knows just what that file uses.

use serde_json::Value as Json;

use super::{grants, options, tests::parsed};

const SCHEMA: &str = include_str!("../../../../wit/manifest.schema.json");

fn schema() -> Json {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Whether `value` is as `schema` says, a part of `root`.
fn fits(root: &Json, schema: &Json, value: &Json) -> bool {
    let known = schema.as_object().unwrap();
    known.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "$defs" => true,
        "$ref" => fits(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("{other}"),
        },
        "const" => value == rule,
        "anyOf" => rule.as_array().unwrap().iter().any(|one| fits(root, one, value)),
        "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
        "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > rule.as_f64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.len() as u64 <= rule.as_u64().unwrap()),
        "pattern" => {
            let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|item| fits(root, rule, item))),
        "properties" => rule
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, rule)| value.get(name).is_none_or(|value| fits(root, rule, value))),
        "additionalProperties" => {
            let named = known.get("properties");
            let others = value.as_object().into_iter().flatten();
            let mut others = others.filter(|(name, _)| named.is_none_or(|named| named.get(name).is_none()));
            others.all(|(_, value)| if rule.is_object() { fits(root, rule, value) } else { false })
        }
        "unevaluatedProperties" => {
            let mut known = Vec::new();
            names(root, schema, &mut known);
            value.as_object().is_none_or(|object| object.keys().all(|name| known.contains(name)))
        }
        other => panic!("this checker does not know {other}"),
    })
}

/// The names of the properties that a schema speaks of.
fn names(root: &Json, schema: &Json, found: &mut Vec<String>) {
    found.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    if let Some(place) = schema["$ref"].as_str() {
        names(root, root.pointer(&place[1..]).unwrap(), found);
    }
}

#[test]
fn the_schema_has_the_parser_s_keys() {
    let schema = schema();
    let keys = |place: &str| -> Vec<String> {
        schema.pointer(place).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys("/$defs/options/properties"), options::KEYS);
    assert_eq!(keys("/$defs/grants/properties"), grants::KEYS);
    assert_eq!(keys("/properties"), ["tasks", "grants"]);
}

#[test]
fn the_schema_takes_what_the_parser_takes_and_refuses_what_it_refuses() {
    let schema = schema();
    for (text, expected) in [
        ("", true),
        ("time_limit = 30", true),
        ("time_limit = 0.5", true),
        ("time_limit = 0", false),
        ("time_limit = 31536001", false),
        ("time_limit = \"30\"", false),
        ("tme_limit = 30", false),
        ("cpu_limit = 1", true),
        ("cpu_limit = -1", false),
        ("memory_limit = \"64MiB\"", true),
        ("memory_limit = 65536", true),
        ("memory_limit = 1.5", false),
        ("memory_limit = \"64MB\"", false),
        ("memory_limit = \"0MiB\"", false),
        ("queue = \"images\"", true),
        ("queue = \"\"", false),
        ("queue = \"acme/images\"", false),
        ("queue = \"a\\nb\"", false),
        ("queue = 1", false),
        ("pin_version = true", true),
        ("pin_version = \"yes\"", false),
        ("rate_limit = 0", true),
        ("rate_limit = \"10/m\"", true),
        ("rate_limit = \"10/d\"", false),
        ("rate_limit = -1", false),
        ("autoretry_for = [\"OSError\", \"shop.Éric_1\"]", true),
        ("autoretry_for = [\"OS Error\"]", false),
        ("autoretry_for = [\"1st\"]", false),
        ("autoretry_for = \"OSError\"", false),
        ("max_retries = \"unlimited\"", true),
        ("max_retries = \"many\"", false),
        ("max_retries = -1", false),
        ("retry_backoff = false", true),
        ("retry_backoff = 2.5", true),
        ("retry_backoff = \"yes\"", false),
        ("default_retry_delay = 0", true),
        ("retry_backoff_max = true", false),
        ("[tasks.divide]\nacks_late = false", true),
        ("[tasks.divide]\nacks_late = 1", false),
        ("[tasks.divide.grants]\nhttp = []", false),
        ("[tasks.divide]\ntme_limit = 1", false),
        ("[tasks]\ndivide = 1", false),
        ("tasks = 1", false),
        ("grants = 1", false),
        ("[grants]", true),
        ("[grants]\nhttp = [\"a.org\", \"https://*.b.org:8443\", \"[::1]:*\", \"*\"]", true),
        ("[grants]\nhttp = [\"ftp://a.org\"]", false),
        ("[grants]\nhttp = [\"a b\"]", false),
        ("[grants]\nhttp = [\"me@a.org\"]", false),
        ("[grants]\nhttp = \"a.org\"", false),
        ("[grants]\nkeyvalue = \"1GiB\"", true),
        ("[grants]\nkeyvalue = 0", false),
        ("[grants]\nsecrets = [\"A\", \"B_*\"]", true),
        ("[grants]\nsecrets = [\"A*B\"]", false),
        ("[grants]\nsubmit = []", true),
        ("[grants]\nsubmit = [\"acme/app.f\"]", false),
        ("[grants]\nsubmit = [\"a b\"]", false),
        ("[grants]\nscratch = \"1MiB\"", false),
        ("[grants.config]\na = \"b\"", true),
        ("[grants.config]\na = 1", false),
    ] {
        let read = parsed(text);
        assert_eq!(read.is_ok(), expected, "the parser: {text}: {read:?}");
        let value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        assert_eq!(fits(&schema, &schema, &value), expected, "the schema: {text}");
    }
}

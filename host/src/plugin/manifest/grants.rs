//! The table `[grants]`: what the plugin wants to reach.

use toml::{Table, Value};

use super::{
    ManifestError,
    error::Wrong,
    value::{all_parsed, bytes},
};
use crate::task::Grants;

/// The keys.
pub(super) const KEYS: &[&str] = &["http", "keyvalue", "config", "secrets", "submit"];

/// Reads the table.
pub(super) fn read(table: &Table, file: &str) -> Result<Grants, ManifestError> {
    let mut grants = Grants::default();
    for (key, value) in table {
        set(&mut grants, key, value).map_err(|wrong| wrong.at(file, &format!("grants.{key}"), value))?;
    }
    if let Some(name) = grants.config.keys().find(|name| grants.allows_secret(name)) {
        let wrong = Wrong::value("a name that is not among the secrets as well");
        return Err(wrong.at(file, "grants.config", &Value::String(name.clone())));
    }
    Ok(grants)
}

fn set(grants: &mut Grants, key: &str, value: &Value) -> Result<(), Wrong> {
    const HOSTS: &str = "a list of hosts, each [http:// or https://]HOST[:PORT]: [\"api.example.org\", \"https://*.example.org:8443\"]";
    match key {
        "http" => grants.http = all_parsed(value, HOSTS)?,
        "keyvalue" => grants.keyvalue = bytes(value)?,
        "config" => grants.config = texts(value)?,
        "secrets" => {
            grants.secrets =
                all_parsed(value, "a list of names, or of their beginnings: [\"API_KEY\", \"MAIL_*\"]")?;
        }
        "submit" => {
            grants.submit = all_parsed(
                value,
                "a list of names of tasks, or of their beginnings: [\"mail.*\", \"app.f\"]",
            )?;
        }
        // wasmtime limits no folder's size, and nothing that it offers can stand between a guest and the folder.
        "scratch" => {
            return Err(Wrong::value(
                "left out: a folder for a run is not offered, because its size could not be limited",
            ));
        }
        _ => return Err(Wrong::Key(KEYS)),
    }
    Ok(())
}

fn texts(value: &Value) -> Result<std::collections::BTreeMap<String, String>, Wrong> {
    let text = |(name, value): (&String, &Value)| {
        let is_usable = !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control);
        Some((name.clone(), value.as_str()?.to_owned())).filter(|_| is_usable)
    };
    let table = value.as_table();
    let texts: Option<_> = table.and_then(|table| table.iter().map(text).collect());
    texts.ok_or(Wrong::value("a table of texts: endpoint = \"https://api.example.org\""))
}

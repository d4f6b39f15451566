//! What a message wants called when its task has ended.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Embed<'a> {
    #[serde(borrow)]
    callbacks: Option<&'a RawValue>,
    errbacks: Option<&'a RawValue>,
    chain: Option<&'a RawValue>,
    chord: Option<&'a RawValue>,
}

/// The first thing that `embed` wants called, by Celery's name for it; `None` when it wants nothing.
pub fn canvas_part(embed: &RawValue) -> Option<&'static str> {
    let embed: Embed<'_> = serde_json::from_str(embed.get()).ok()?;
    let parts = [
        ("callback", embed.callbacks),
        ("errback", embed.errbacks),
        ("chain", embed.chain),
        ("chord", embed.chord),
    ];
    let wanted =
        |part: Option<&RawValue>| part.is_some_and(|part| !matches!(part.get(), "null" | "[]" | "{}"));
    parts.into_iter().find(|(_, part)| wanted(*part)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_is_recognised_by_what_it_wants_called() {
        for (embed, expected) in [
            ("{}", None),
            ("null", None),
            (r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#, None),
            (r#"{"callbacks": [], "chain": []}"#, None),
            (r#"{"chain": [{"task": "app.add"}]}"#, Some("chain")),
            (r#"{"callbacks": [{"task": "app.add"}], "chain": null}"#, Some("callback")),
            (r#"{"errbacks": [{}]}"#, Some("errback")),
            (r#"{"chord": {"task": "app.sum"}}"#, Some("chord")),
        ] {
            let embed = RawValue::from_string(embed.to_owned()).unwrap();
            assert_eq!(canvas_part(&embed), expected, "{}", embed.get());
        }
    }
}

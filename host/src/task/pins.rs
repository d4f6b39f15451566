//! The versions of plugins on which a workflow stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TaskName;

/// Of some plugins the version, by its digest, on which the retries of a task and what follows it in its chain stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Pins(BTreeMap<String, String>);

/// The most plugins of one workflow that are pinned; the others are run on the version that is active then.
const MOST: usize = 8;

/// The longest name of a plugin, in bytes.
const LONGEST: usize = 100;

impl Pins {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plugin that offers a task of this name and is pinned, and the digest of its version.
    pub fn of(&self, task: &TaskName) -> Option<(&str, &str)> {
        let offers = |plugin: &str| {
            let rest = task.as_str().strip_prefix(plugin);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found = self.0.iter().filter(|(plugin, _)| offers(plugin)).max_by_key(|(plugin, _)| plugin.len());
        found.map(|(plugin, digest)| (plugin.as_str(), digest.as_str()))
    }

    /// The same with this one.
    pub fn with(mut self, plugin: &str, digest: &str) -> Self {
        if self.0.len() < MOST || self.0.contains_key(plugin) {
            self.0.insert(plugin.to_owned(), digest.to_owned());
        }
        self
    }
}

impl From<BTreeMap<String, String>> for Pins {
    /// Anybody can have written them: what cannot be one is left out.
    fn from(written: BTreeMap<String, String>) -> Self {
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let mut pins = written;
        pins.retain(|plugin, digest| plugin.len() <= LONGEST && is_digest(digest));
        Self(pins.into_iter().take(MOST).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_pinned_with_its_plugin() {
        let digest = |c: char| c.to_string().repeat(64);
        let pins = Pins::default().with("app", &digest('a')).with("app.mail", &digest('b'));
        let of = |task: &str| pins.of(&TaskName::new(task).unwrap()).map(|(plugin, _)| plugin);
        for (task, plugin) in [
            ("app", Some("app")),
            ("app.divide", Some("app")),
            ("app.mail.send", Some("app.mail")),
            ("apple.divide", None),
            ("other", None),
        ] {
            assert_eq!(of(task), plugin, "{task}");
        }
        let text = serde_json::to_string(&pins).unwrap();
        assert_eq!(serde_json::from_str::<Pins>(&text).unwrap(), pins);
    }

    #[test]
    fn what_somebody_else_has_written_is_bounded() {
        let digest = "0".repeat(64);
        let many: BTreeMap<_, _> = (0..100).map(|n| (format!("p{n}"), digest.clone())).collect();
        assert_eq!(Pins::from(many).0.len(), MOST);
        for (plugin, digest) in [("a", "x"), ("a", &*"g".repeat(64)), (&*"a".repeat(101), &*digest)] {
            assert!(Pins::from(BTreeMap::from([(plugin.to_owned(), digest.to_owned())])).is_empty());
        }
    }
}

//! What is different in a version: shown before it goes live.

use serde::Serialize;

use super::record::Facts;
use crate::task::Grants;

/// What a version would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Tasks that only it has, as they are called.
    pub added: Vec<String>,
    /// Tasks that it does not have any more.
    pub removed: Vec<String>,
    /// Tasks that are called in another way: how they were called, and how they are.
    pub changed: Vec<(String, String)>,
    /// What it asks for and the other one does not.
    pub more_grants: Vec<String>,
    /// What it asks for no more.
    pub less_grants: Vec<String>,
    /// What of the host only it may use.
    pub more_imports: Vec<String>,
}

impl Diff {
    /// What is different in the second; without a first, all of it.
    pub(super) fn of(old: Option<(&Facts, &Grants)>, (new, asks): (&Facts, &Grants)) -> Self {
        let nothing = (Facts::default(), Grants::default());
        let (old, asked) = old.unwrap_or((&nothing.0, &nothing.1));
        let without = |tasks: &[String], others: &[String]| {
            let is_there = |task: &String| others.iter().any(|other| name(other) == name(task));
            tasks.iter().filter(|task| !is_there(task)).cloned().collect()
        };
        let changed = old.tasks.iter().filter_map(|task| {
            let now = new.tasks.iter().find(|new| name(new) == name(task))?;
            (now != task).then(|| (task.clone(), now.clone()))
        });
        let imports = new.imports.iter().filter(|import| !old.imports.contains(import));
        Self {
            added: without(&new.tasks, &old.tasks),
            removed: without(&old.tasks, &new.tasks),
            changed: changed.collect(),
            more_grants: asks.exceeding(asked),
            less_grants: asked.exceeding(asks),
            more_imports: imports.cloned().collect(),
        }
    }

    /// A line for each difference, as `diff` would mark it.
    pub fn lines(&self) -> Vec<String> {
        let mark = |mark: &str, what: &str, items: &[String]| {
            items.iter().map(|item| format!("{mark} {what}{item}")).collect::<Vec<_>>()
        };
        let mut lines = mark("+", "", &self.added);
        lines.extend(mark("-", "", &self.removed));
        for (was, is) in &self.changed {
            lines.push(format!("- {was}"));
            lines.push(format!("+ {is}"));
        }
        lines.extend(mark("+", "asks for ", &self.more_grants));
        lines.extend(mark("-", "asks for ", &self.less_grants));
        lines.extend(mark("+", "may use ", &self.more_imports));
        lines
    }
}

/// The name of a task that is shown with its parameters.
fn name(task: &str) -> &str {
    task.split_once('(').map_or(task, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(tasks: &[&str], imports: &[&str]) -> Facts {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Facts { tasks: texts(tasks), imports: texts(imports), ..Facts::default() }
    }

    #[test]
    fn what_a_version_changes_is_told_a_line_each() {
        let old = facts(&["app.a(x: s32) -> s32", "app.b()", "app.same()"], &["wasi:clocks"]);
        let new = facts(&["app.a(x: s64) -> s32", "app.c()", "app.same()"], &["wasi:clocks", "wasi:http"]);
        let asks = |http: &[&str]| Grants {
            http: http.iter().map(|host| host.parse().unwrap()).collect(),
            ..Grants::default()
        };
        let (asked, asks) = (asks(&["old.example.org"]), asks(&["new.example.org"]));
        assert_eq!(
            Diff::of(Some((&old, &asked)), (&new, &asks)).lines(),
            [
                "+ app.c()",
                "- app.b()",
                "- app.a(x: s32) -> s32",
                "+ app.a(x: s64) -> s32",
                "+ asks for http \"new.example.org\"",
                "- asks for http \"old.example.org\"",
                "+ may use wasi:http",
            ]
        );
        assert_eq!(Diff::of(Some((&new, &asks)), (&new, &asks)), Diff::default());
        assert_eq!(Diff::of(None, (&old, &Grants::default())).added.len(), 3);
    }
}

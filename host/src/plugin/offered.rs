//! What answers each task name: out of what the folder and the uploads offer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Entry, Plugin};
use crate::task::{OwnedTask, TaskId, TaskName, Tenant};

/// The tasks of each tenant. A tenant that has none yet is known all the same.
pub(super) type Tasks = HashMap<Tenant, HashMap<TaskName, Offered>>;

/// What answers one task name.
pub(super) struct Offered {
    /// The version that is run.
    pub entry: Entry,
    /// The one that takes so many calls of a hundred.
    canary: Option<(Entry, u8)>,
}

/// An uploaded plugin.
#[derive(Clone)]
pub struct Offer {
    /// Its active version.
    pub plugin: Arc<Plugin>,
    /// The version that takes so many calls of a hundred.
    pub canary: Option<(Arc<Plugin>, u8)>,
}

/// All that is offered.
#[derive(Default)]
pub(super) struct Sources {
    /// The tenants that have a folder.
    pub tenants: Vec<Tenant>,
    /// What is in the folders.
    pub folder: Vec<Arc<Plugin>>,
    /// What was uploaded.
    pub uploads: Vec<Offer>,
}

/// The names that are not given to a plugin, and the file of the plugin that has them.
pub(super) type Taken = Vec<(OwnedTask, String)>;

impl Offered {
    /// What runs a call of this workflow. All of a workflow, retries among it, goes to one version.
    pub fn of_workflow(&self, root_id: &TaskId) -> &Entry {
        match &self.canary {
            Some((canary, share)) if place(root_id) < *share => canary,
            _ => &self.entry,
        }
    }
}

impl Sources {
    /// What answers each name. When two plugins of a tenant claim one name the earlier keeps it, and the folder comes before the
    /// uploads: the names that went to another one are returned, first those of the folder's plugins. An upload that is called as a
    /// plugin in its tenant's folder offers nothing.
    pub fn tasks(&self) -> (Tasks, Taken, Taken) {
        let mut tasks: Tasks = self.tenants.iter().map(|tenant| (tenant.clone(), HashMap::new())).collect();
        let (mut of_folder, mut of_uploads) = (Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for plugin in &self.folder {
            names.insert((&plugin.tenant, &*plugin.name));
            of_folder.extend(add(&mut tasks, plugin, None));
        }
        for Offer { plugin, canary } in &self.uploads {
            if names.contains(&(&plugin.tenant, &*plugin.name)) {
                let tenant = plugin.tenant.clone();
                let owned = |task| (OwnedTask { tenant: tenant.clone(), task }, plugin.file.clone());
                of_uploads.extend(plugin.task_names().map(owned));
                tasks.entry(tenant.clone()).or_default();
                continue;
            }
            of_uploads.extend(add(&mut tasks, plugin, canary.as_ref()));
        }
        (tasks, of_folder, of_uploads)
    }
}

/// Adds what a plugin offers, and what only its canary does.
fn add(tasks: &mut Tasks, plugin: &Arc<Plugin>, canary: Option<&(Arc<Plugin>, u8)>) -> Taken {
    let of_tenant = tasks.entry(plugin.tenant.clone()).or_default();
    let mut taken = Vec::new();
    let mut offer = |task: TaskName, entry: Entry, canary: Option<(Entry, u8)>| match of_tenant.get(&task) {
        Some(earlier) => {
            let tenant = plugin.tenant.clone();
            taken.push((OwnedTask { tenant, task }, earlier.entry.plugin.file.clone()));
        }
        None => drop(of_tenant.insert(task, Offered { entry, canary })),
    };
    let on_trial = |task: &TaskName| {
        let (canary, share) = canary?;
        Some((Entry::of(canary, task)?, *share))
    };
    for (function, task) in plugin.task_names().enumerate() {
        let (entry, canary) = (Entry { plugin: plugin.clone(), function }, on_trial(&task));
        offer(task, entry, canary);
    }
    // What only the canary offers nobody else can run.
    if let Some((canary, _)) = canary {
        for (function, task) in canary.task_names().enumerate() {
            if Entry::of(plugin, &task).is_none() {
                offer(task, Entry { plugin: canary.clone(), function }, None);
            }
        }
    }
    taken
}

/// A number from 0 to 99 that is the same for this workflow on every worker, and evenly spread: FNV-1a, mixed.
fn place(root_id: &TaskId) -> u8 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = root_id.as_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, add);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((mixed ^ (mixed >> 33)) % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Options, Sandbox};

    fn plugin(sandbox: &Sandbox, name: &str, functions: &[&str]) -> Arc<Plugin> {
        let exports: String = functions.iter().map(|name| format!("(func (export \"{name}\"))")).collect();
        let wasm = wat::parse_str(format!("(module {exports})")).unwrap();
        Arc::new(Plugin::uploaded(sandbox, Tenant::DEFAULT, name, "digest", &wasm, None).unwrap())
    }

    #[test]
    fn workflows_are_spread_evenly_and_each_stays_where_it_is() {
        let mut counts = [0u32; 100];
        for number in 0..100_000 {
            counts[usize::from(place(&TaskId::new(&format!("task-{number}")).unwrap()))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        let id = TaskId::new("d1e5e5c0-6a2b-4f5d-9d3c-2f1f3b1c9a77").unwrap();
        assert_eq!(place(&id), place(&id.clone()));
    }

    #[test]
    fn the_folder_keeps_its_names_and_a_canary_has_its_share() {
        let sandbox = Sandbox::new(Options { slots: 1, ..Options::default() }).unwrap();
        let sources = Sources {
            tenants: Vec::new(),
            folder: vec![plugin(&sandbox, "mine", &["f"])],
            uploads: vec![
                Offer { plugin: plugin(&sandbox, "mine", &["f", "g"]), canary: None },
                Offer {
                    plugin: plugin(&sandbox, "app", &["both", "old"]),
                    canary: Some((plugin(&sandbox, "app", &["both", "new"]), 30)),
                },
            ],
        };
        let (tasks, of_folder, of_uploads) = sources.tasks();
        assert!(of_folder.is_empty());
        let names: Vec<_> = of_uploads.iter().map(|(task, _)| task.to_string()).collect();
        assert_eq!(names, ["mine.f", "mine.g"]);
        let tasks = &tasks[&Tenant::DEFAULT];
        assert_eq!(tasks.len(), 4);
        let of = |task: &str| &tasks[&TaskName::new(task).unwrap()];
        let (stable, canary) = (&sources.uploads[1].plugin, &sources.uploads[1].canary.as_ref().unwrap().0);
        let share = |task: &str| {
            let ids = (0..1_000).map(|number| TaskId::new(&format!("id {number}")).unwrap());
            ids.filter(|id| Arc::ptr_eq(&of(task).of_workflow(id).plugin, canary)).count()
        };
        assert!((240..360).contains(&share("app.both")), "{}", share("app.both"));
        assert_eq!((share("app.old"), share("app.new")), (0, 1_000));
        assert!(Arc::ptr_eq(&of("app.both").entry.plugin, stable));
    }
}

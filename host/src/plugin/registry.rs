//! The tasks that can be run now: tenant and task name to plugin and function.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    Calls, Manifest, Offer, PluginError, manifest,
    offered::{Offered, Sources, Taken, Tasks},
};
use crate::{
    sandbox::{Program, Sandbox, Skipped},
    task::{Grants, OwnedTask, TaskId, TaskName, TaskOptions, Tenant},
};

/// The tasks that can be run now. Asked once for each message, so reading it takes no lock; replaced as a whole when
/// a plugin changes, so that a reader sees all of a plugin's tasks change together.
#[derive(Default)]
pub struct Registry {
    tasks: ArcSwap<Tasks>,
    sources: Mutex<Sources>,
    changed: watch::Sender<()>,
}

/// Tells when the tasks change.
pub struct Changes(watch::Receiver<()>);

/// What answers a task name: a function of a plugin. Holding it keeps that version of the plugin alive.
#[derive(Clone)]
pub struct Entry {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// The index of the function in `plugin.program.functions()`.
    pub function: usize,
}

/// One loaded `.wasm` file.
pub struct Plugin {
    /// Whose it is.
    pub tenant: Tenant,
    /// The plugin's name: the file's name without `.wasm`, `-` written as `_`.
    pub name: String,
    /// The file's name, after that of the tenant's folder if it is in one.
    pub file: String,
    /// The compiled code.
    pub program: Program,
    /// What it asks for.
    pub grants: Arc<Grants>,
    /// How each of the program's functions is to be run, in their order.
    options: Vec<TaskOptions>,
    /// The functions that only the manifest knows.
    unknown: Vec<Skipped>,
    /// The digest of the version, if it was uploaded.
    pub version: Option<Arc<str>>,
    /// How often it was called.
    pub calls: Arc<Calls>,
}

impl Entry {
    /// The function of a plugin that answers a task, if it has one.
    pub fn of(plugin: &Arc<Plugin>, task: &TaskName) -> Option<Self> {
        let function = plugin.task_names().position(|name| name == *task)?;
        Some(Self { plugin: plugin.clone(), function })
    }

    /// How the task is to be run, as its plugin's manifest says.
    pub fn options(&self) -> &TaskOptions {
        &self.plugin.options[self.function]
    }
}

impl Registry {
    /// The plugin and function that answer what this tenant calls `task`.
    pub fn find(&self, tenant: &Tenant, task: &TaskName) -> Option<Entry> {
        self.tasks.load().get(tenant)?.get(task).map(|offered| offered.entry.clone())
    }

    /// The same for a call of this workflow: it may be one of those that go to a canary.
    pub fn find_for(&self, tenant: &Tenant, task: &TaskName, root_id: &TaskId) -> Option<Entry> {
        self.tasks.load().get(tenant)?.get(task).map(|offered| offered.of_workflow(root_id).clone())
    }

    /// The same for a task among those of all tenants.
    pub fn find_owned(&self, OwnedTask { tenant, task }: &OwnedTask) -> Option<Entry> {
        self.find(tenant, task)
    }

    /// All tasks, by tenant and name.
    pub fn tasks(&self) -> Vec<(OwnedTask, Entry)> {
        let tasks = self.tasks.load();
        let of_tenant = |(tenant, tasks): (&Tenant, &HashMap<TaskName, Offered>)| {
            let owned = |(task, offered): (&TaskName, &Offered)| {
                (OwnedTask { tenant: tenant.clone(), task: task.clone() }, offered.entry.clone())
            };
            tasks.iter().map(owned).collect::<Vec<_>>()
        };
        let mut tasks: Vec<_> = tasks.iter().flat_map(of_tenant).collect();
        tasks.sort_by(|(a, _), (b, _)| a.cmp(b));
        tasks
    }

    /// The tenants that have plugins, or a place for them; the default tenant is not named.
    pub fn tenants(&self) -> Vec<Tenant> {
        let mut tenants: Vec<_> =
            self.tasks.load().keys().filter(|tenant| !tenant.is_default()).cloned().collect();
        tenants.sort();
        tenants
    }

    /// What tells of the changes from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.changed.subscribe())
    }

    /// Offers the tasks of exactly these plugins from now on, and knows these tenants. Runs that have begun end on the version
    /// they began with.
    ///
    /// When two plugins of a tenant claim one name the earlier keeps it; the names that went to another plugin are returned,
    /// with that plugin's file.
    pub(super) fn replace(
        &self,
        tenants: impl IntoIterator<Item = Tenant>,
        plugins: impl Iterator<Item = Arc<Plugin>>,
    ) -> Taken {
        let mut sources = self.lock();
        sources.tenants = tenants.into_iter().collect();
        sources.folder = plugins.collect();
        self.renew(&sources).0
    }

    /// Offers the tasks of exactly these uploads from now on, besides those of the folder, which keeps its names: the tasks that
    /// are not offered are returned, with the file of the plugin that has the name.
    pub fn offer(&self, uploads: Vec<Offer>) -> Vec<(OwnedTask, String)> {
        let mut sources = self.lock();
        sources.uploads = uploads;
        self.renew(&sources).1
    }

    fn renew(&self, sources: &Sources) -> (Taken, Taken) {
        let (tasks, of_folder, of_uploads) = sources.tasks();
        self.tasks.store(Arc::new(tasks));
        self.changed.send_replace(());
        (of_folder, of_uploads)
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Waits for the next change; for ever when there can be none any more.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Plugin {
    /// Reads and compiles a `.wasm` file of a tenant, and reads its manifest if it has one. Takes as long as compiling takes: not
    /// for an async thread.
    pub fn load(sandbox: &Sandbox, tenant: Tenant, path: &Path) -> Result<Self, PluginError> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let name = plugin_name(&file).ok_or_else(|| PluginError::Name { file: file.clone() })?;
        let wasm = std::fs::read(path)?;
        let beside = manifest::beside(path)?;
        Self::of(sandbox, tenant, name, file, &wasm, beside.as_deref())
    }

    /// Compiles the bytes of a `.wasm` file of a tenant, with the text of the manifest beside it if it has one.
    fn of(
        sandbox: &Sandbox,
        tenant: Tenant,
        name: String,
        file: String,
        wasm: &[u8],
        beside: Option<&str>,
    ) -> Result<Self, PluginError> {
        let program = sandbox.load(&tenant, &file, wasm)?;
        let Manifest { options, grants, unknown } = Manifest::of(&file, wasm, beside, program.functions())?;
        let file = tenant.shown(&file).into_owned();
        let (grants, calls) = (Arc::new(grants), Arc::default());
        Ok(Self { tenant, name, file, program, grants, options, unknown, version: None, calls })
    }

    /// Compiles a version, named by its digest, of what a tenant has uploaded as `name`, with the manifest beside it. Takes as long as compiling
    /// takes: not for an async thread.
    pub fn uploaded(
        sandbox: &Sandbox,
        tenant: Tenant,
        name: &str,
        version: &str,
        wasm: &[u8],
        beside: Option<&str>,
    ) -> Result<Self, PluginError> {
        let plugin = Self::of(sandbox, tenant, name.to_owned(), format!("{name}.wasm"), wasm, beside)?;
        Ok(Self { version: Some(version.into()), ..plugin })
    }

    /// The name of a plugin that somebody calls `name`, as that of a file `name.wasm` would be.
    pub fn named(name: &str) -> Option<String> {
        plugin_name(&format!("{name}.wasm"))
    }

    /// The plugin's tasks as its tenant calls them: `app.divide(x: f64, y: f64) -> f64`.
    pub fn signatures(&self) -> impl Iterator<Item = String> {
        self.task_names().zip(self.program.functions()).map(|(task, function)| {
            let signature = function.signature().to_string();
            let parameters = signature.strip_prefix(function.name()).unwrap_or(&signature);
            format!("{task}{parameters}")
        })
    }

    /// What in the file or its manifest is no task, with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.program.skipped().iter().chain(&self.unknown)
    }

    /// The task names of the plugin's functions, in their order.
    pub fn task_names(&self) -> impl Iterator<Item = TaskName> {
        self.program.functions().iter().map(|function| task_name(&self.name, function.name()))
    }
}

/// `app` and `divide` make `app.divide`; `divide` and `divide` make `divide`, as a function named like its plugin is
/// what the plugin is about.
fn task_name(plugin: &str, function: &str) -> TaskName {
    let name = if plugin == function { plugin.to_owned() } else { format!("{plugin}.{function}") };
    let fits: String = name.chars().take(255).collect();
    TaskName::new(&fits).expect("plugin and function names are short, printable ASCII")
}

/// The plugin name of a file name: without `.wasm`, and spelled as Python spells module names.
fn plugin_name(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".wasm")?;
    let usable = stem.len() <= 100
        && stem.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && stem.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    usable.then(|| stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_becomes_a_plugin_name() {
        for (file, expected) in [
            ("app.wasm", Some("app")),
            ("image-tools.wasm", Some("image_tools")),
            ("proj.tasks.wasm", Some("proj.tasks")),
            ("app.wat", None),
            (".wasm", None),
            (".hidden.wasm", None),
            ("a b.wasm", None),
            ("é.wasm", None),
        ] {
            assert_eq!(plugin_name(file).as_deref(), expected, "{file}");
        }
        assert_eq!(plugin_name(&format!("{}.wasm", "x".repeat(101))), None);
    }

    #[test]
    fn a_function_named_like_its_plugin_is_called_by_that_name_alone() {
        assert_eq!(task_name("app", "divide").as_str(), "app.divide");
        assert_eq!(task_name("divide", "divide").as_str(), "divide");
    }
}

//! Whose a task is.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{InvalidName, QueueName, TaskName};

/// An owner of plugins, queues and results. The default tenant has no name: it is all that a single team ever sees.
///
/// A tenant's queues are named `TENANT/QUEUE`, so that the queue that a message was taken from tells whose it is; what the
/// message itself says of tenants counts for nothing. To the tenant its tasks, queues and ids have their short names.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Option<Arc<str>>);

/// What parts a tenant from what is its own.
const SEPARATOR: char = '/';

/// The longest name, in bytes: with a queue's it still is a queue name.
const LONGEST: usize = 63;

/// What no name begins with: the keys of the default tenant's results do, and ids can have a `/` in them.
const RESERVED: &str = "celery-task";

impl Tenant {
    /// The tenant without a name.
    pub const DEFAULT: Self = Self(None);

    /// Checks `name`: 1 to 63 of `a-z`, `0-9`, `-` and `_`, the first a letter or a digit. `celery-task...` is taken.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > LONGEST {
            "it is longer than 63 bytes"
        } else if name.starts_with(RESERVED) {
            "names that begin with \"celery-task\" are kept for Celery's own keys"
        } else if !name.starts_with(is_inner) || !name.chars().all(|c| is_inner(c) || c == '-' || c == '_') {
            "it is not made of a-z, 0-9, - and _, beginning with a letter or a digit"
        } else {
            return Ok(Self(Some(name.into())));
        };
        Err(InvalidName::new("tenant", name, reason))
    }

    /// Its name; the default tenant has none.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether it is the one without a name.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// What the names of all that is its own begin with: `acme/`, or nothing.
    pub fn prefix(&self) -> String {
        self.name().map_or(String::new(), |name| format!("{name}{SEPARATOR}"))
    }

    /// The queue that it calls `name`. What the default tenant calls like another one's queue is none of its own, nor what Redis
    /// has something else under: another tenant's names are its own whatever they are.
    pub fn queue(&self, name: &QueueName) -> Result<QueueName, InvalidName> {
        let invalid = |reason| Err(InvalidName::new("queue name", name.as_str(), reason));
        match self.0 {
            None if !name.owner().0.is_default() => invalid("it is the name of a tenant's queue"),
            None if is_no_queue(name) => invalid("it is the name of something else that the broker keeps"),
            None => Ok(name.clone()),
            Some(_) => QueueName::new(&format!("{}{name}", self.prefix())),
        }
    }

    /// The name of something of its own, as those see it who see several tenants: `acme/app.divide`.
    pub fn shown<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self.name() {
            None => Cow::Borrowed(name),
            Some(tenant) => Cow::Owned(format!("{tenant}{SEPARATOR}{name}")),
        }
    }

    /// Whose `shown` is, and what its owner calls it. Only for what operators write: a message names what is its own.
    pub fn split(shown: &str) -> (Self, &str) {
        let parts = shown.split_once(SEPARATOR);
        let owner = parts.and_then(|(tenant, name)| Some((Self::new(tenant).ok()?, name)));
        owner.filter(|(_, name)| !name.is_empty()).unwrap_or((Self::DEFAULT, shown))
    }
}

/// Whether Redis has under such a name, of the default tenant, what is no queue of tasks.
fn is_no_queue(name: &QueueName) -> bool {
    let name = name.as_str();
    let kept = ["host:", "unacked", "_kombu.", "celery-task-meta-", "celery-taskset-meta-"];
    name.ends_with(".pidbox") || kept.iter().any(|other| name.starts_with(other))
}

impl QueueName {
    /// Whose queue it is, and what its owner calls it.
    pub fn owner(&self) -> (Tenant, &str) {
        Tenant::split(self.as_str())
    }
}

/// A task among those of all tenants, shown as `acme/app.divide`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedTask {
    /// Whose it is.
    pub tenant: Tenant,
    /// What its owner calls it.
    pub task: TaskName,
}

impl OwnedTask {
    /// The task that an operator calls `shown`.
    pub fn named(shown: &str) -> Result<Self, InvalidName> {
        let (tenant, task) = Tenant::split(shown);
        Ok(Self { tenant, task: TaskName::new(task)? })
    }
}

impl fmt::Display for OwnedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tenant.shown(self.task.as_str()))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("the default tenant"))
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({:?})", self.name().unwrap_or_default())
    }
}

impl serde::Serialize for Tenant {
    /// Its name; the default tenant is the empty text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().unwrap_or_default())
    }
}

impl<'de> serde::Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*std::borrow::Cow::<str>::deserialize(deserializer)? {
            "" => Ok(Self::DEFAULT),
            name => Self::new(name).map_err(serde::de::Error::custom),
        }
    }
}

impl std::str::FromStr for Tenant {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_told_by_the_queue() {
        let acme = Tenant::new("acme").unwrap();
        let queue = acme.queue(&QueueName::new("mail/out").unwrap()).unwrap();
        assert_eq!(queue.as_str(), "acme/mail/out");
        assert_eq!(queue.owner(), (acme, "mail/out"));
        for plain in ["celery", "/celery", "acme/", "Acme/celery", "a b/celery"] {
            assert_eq!(QueueName::new(plain).unwrap().owner(), (Tenant::DEFAULT, plain));
        }
    }

    #[test]
    fn what_one_tenant_names_is_never_another_s() {
        let acme = Tenant::new("acme").unwrap();
        for named in ["other/celery", "/other/celery", "../other"] {
            let queue = acme.queue(&QueueName::new(named).unwrap()).unwrap();
            assert_eq!(queue.owner(), (acme.clone(), named));
        }
        assert!(
            acme.queue(&QueueName::new(&"x".repeat(251)).unwrap()).is_err(),
            "longer than a queue's name may be"
        );
    }

    #[test]
    fn the_default_tenant_has_no_name_for_the_queue_of_another() {
        let queue = QueueName::new("acme/celery").unwrap();
        let error = Tenant::DEFAULT.queue(&queue).unwrap_err().to_string();
        assert_eq!(error, "queue name \"acme/celery\" is not usable: it is the name of a tenant's queue");
    }

    #[test]
    fn nobody_sends_to_what_the_broker_keeps_for_itself() {
        for name in [
            "host:parked",
            "unacked",
            "unacked_index",
            "_kombu.binding.celery",
            "celery-task-meta-1",
            "x.celery.pidbox",
        ] {
            let name = QueueName::new(name).unwrap();
            assert!(Tenant::DEFAULT.queue(&name).is_err(), "{name}");
            assert_eq!(Tenant::new("acme").unwrap().queue(&name).unwrap().owner().1, name.as_str());
        }
        for name in ["celery", "celery-tasks", "hosts", "mail.out"] {
            assert!(Tenant::DEFAULT.queue(&QueueName::new(name).unwrap()).is_ok(), "{name}");
        }
    }

    #[test]
    fn operators_name_tasks_by_their_tenants() {
        let acme = Tenant::new("acme").unwrap();
        for (shown, tenant, task) in
            [("acme/app.divide", acme, "app.divide"), ("app.divide", Tenant::DEFAULT, "app.divide")]
        {
            let named = OwnedTask::named(shown).unwrap();
            assert_eq!(
                (&named.tenant, named.task.as_str(), named.to_string()),
                (&tenant, task, shown.to_owned())
            );
        }
        assert!(OwnedTask::named("").is_err());
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "7up", "acme-eu_1", &"x".repeat(63)] {
            assert_eq!(Tenant::new(good).unwrap().name(), Some(good));
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a/b", "ä", "celery-task-meta-x", &"x".repeat(64)] {
            assert!(Tenant::new(bad).is_err(), "{bad:?}");
        }
    }
}

//! The queues that the worker takes from, which can change while it works: of each tenant that it serves those of the same names.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::task::{QueueName, Tenant};

/// The queues.
pub(super) struct Queues {
    wanted: Mutex<Wanted>,
    queues: ArcSwap<Vec<QueueName>>,
    changed: Notify,
}

/// What makes a queue one to take from.
struct Wanted {
    tenants: Vec<Tenant>,
    /// As each tenant calls them. What an operator calls `acme/mail` is of that tenant only.
    names: Vec<QueueName>,
    /// For whom other names are set, and which.
    own: HashMap<Tenant, Vec<QueueName>>,
    /// A tenant's queues that are not taken from although they have one of the names.
    not: Vec<QueueName>,
    /// Those that are paused, whoever takes from them.
    paused: HashSet<QueueName>,
}

impl Queues {
    /// The queues of these names, of these tenants.
    pub fn new(names: Vec<QueueName>, tenants: Vec<Tenant>) -> Self {
        let (own, not, paused) = (HashMap::new(), Vec::new(), HashSet::new());
        let wanted = Wanted { tenants, names, own, not, paused };
        let queues = ArcSwap::from_pointee(wanted.open());
        Self { wanted: Mutex::new(wanted), queues, changed: Notify::new() }
    }

    /// The queues now, without those that are paused.
    pub fn now(&self) -> Arc<Vec<QueueName>> {
        self.queues.load_full()
    }

    /// Takes from the queues of these tenants.
    pub fn serve(&self, tenants: Vec<Tenant>) {
        self.change(|wanted| wanted.tenants = tenants);
    }

    /// Takes from this queue too; without a tenant, from the queues that all tenants call so.
    pub fn add(&self, queue: &QueueName) {
        self.change(|wanted| {
            wanted.not.retain(|not| not != queue);
            if !wanted.queues().contains(queue) && !wanted.names.contains(queue) {
                wanted.names.push(queue.clone());
            }
        });
    }

    /// Takes from this queue no more; without a tenant, from none that a tenant calls so.
    pub fn remove(&self, queue: &QueueName) {
        self.change(|wanted| {
            wanted.names.retain(|name| name != queue);
            if wanted.queues().contains(queue) {
                wanted.not.push(queue.clone());
            }
        });
    }

    /// Takes from exactly these no more, for as long as they are paused.
    pub fn pause(&self, paused: HashSet<QueueName>) {
        self.change(|wanted| wanted.paused = paused);
    }

    /// These tenants have queues of their own choice.
    pub fn set_own(&self, own: HashMap<Tenant, Vec<QueueName>>) {
        self.change(|wanted| wanted.own = own);
    }

    /// Waits until the queues may have changed. For one caller.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted);
        self.queues.store(Arc::new(wanted.open()));
        self.changed.notify_one();
    }
}

impl Wanted {
    fn open(&self) -> Vec<QueueName> {
        let mut queues = self.queues();
        queues.retain(|queue| !self.paused.contains(queue));
        queues
    }

    fn queues(&self) -> Vec<QueueName> {
        let of = |tenant: &Tenant, name: &QueueName| match tenant.is_default() {
            true => Some(name.clone()),
            false => tenant.queue(name).ok(),
        };
        let mut queues = Vec::new();
        for name in &self.names {
            if !name.owner().0.is_default() {
                queues.push(name.clone());
                continue;
            }
            // What is too long with the tenant before it, nobody can send to. An operator may take from whatever it is.
            let usual = self.tenants.iter().filter(|tenant| !self.own.contains_key(*tenant));
            queues.extend(usual.filter_map(|tenant| of(tenant, name)));
        }
        for tenant in &self.tenants {
            let own = self.own.get(tenant).into_iter().flatten();
            queues.extend(own.filter_map(|name| of(tenant, name)));
        }
        queues.retain(|queue| !self.not.contains(queue));
        queues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    fn now(queues: &Queues) -> Vec<String> {
        queues.now().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_tenant_has_the_queues_of_the_same_names() {
        let acme = Tenant::new("acme").unwrap();
        let queues = Queues::new(vec![queue("celery")], vec![Tenant::DEFAULT]);
        assert_eq!(now(&queues), ["celery"]);
        queues.serve(vec![Tenant::DEFAULT, acme.clone()]);
        queues.add(&queue("mail"));
        assert_eq!(now(&queues), ["celery", "acme/celery", "mail", "acme/mail"]);
        queues.remove(&queue("mail"));
        queues.serve(vec![acme]);
        assert_eq!(now(&queues), ["acme/celery"]);
    }

    #[test]
    fn a_tenant_can_have_other_queues() {
        let acme = Tenant::new("acme").unwrap();
        let queues = Queues::new(vec![queue("celery")], vec![Tenant::DEFAULT, acme.clone()]);
        queues.set_own(HashMap::from([
            (acme, vec![queue("mail")]),
            (Tenant::new("gone").unwrap(), vec![queue("x")]),
        ]));
        assert_eq!(now(&queues), ["celery", "acme/mail"]);
        queues.set_own(HashMap::new());
        assert_eq!(now(&queues), ["celery", "acme/celery"]);
    }

    #[test]
    fn a_queue_of_one_tenant_is_added_and_removed_alone() {
        let acme = Tenant::new("acme").unwrap();
        let queues = Queues::new(vec![queue("celery")], vec![Tenant::DEFAULT, acme]);
        queues.remove(&queue("acme/celery"));
        assert_eq!(now(&queues), ["celery"]);
        queues.add(&queue("acme/celery"));
        queues.add(&queue("other/mail"));
        assert_eq!(now(&queues), ["celery", "acme/celery", "other/mail"]);
        queues.remove(&queue("other/mail"));
        assert_eq!(now(&queues), ["celery", "acme/celery"]);
    }

    #[test]
    fn nothing_is_taken_from_a_paused_queue_until_it_is_resumed() {
        let queues = Queues::new(vec![queue("celery"), queue("mail")], vec![Tenant::DEFAULT]);
        queues.pause(HashSet::from([queue("celery"), queue("other")]));
        queues.add(&queue("celery"));
        queues.add(&queue("other"));
        assert_eq!(now(&queues), ["mail"]);
        queues.pause(HashSet::new());
        assert_eq!(now(&queues), ["celery", "mail", "other"]);
    }
}

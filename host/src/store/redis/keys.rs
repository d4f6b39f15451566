//! Every key that this engine reads or writes. Those of Kombu and Celery are theirs to the byte
//! (celery-protocol.md, 2.1 and 3.1), so that Python workers and clients share them; ours begin with `host:`.
//!
//! # Tenants
//!
//! What belongs to a tenant begins with its name and a `/`, as Kombu and Celery have it themselves when `global_keyprefix` is
//! `acme/` in `broker_transport_options` and `result_backend_transport_options`. Read in Celery 5.4 and 5.7, with the Kombu that
//! each brings along:
//!
//! - Kombu's client puts the prefix before the keys of its commands, and knows nothing of it otherwise: the list of a queue is
//!   `acme/celery`, its bindings are the set `acme/_kombu.binding.celery`, whose members have no prefix, and what a Python worker
//!   holds is in `acme/unacked` and `acme/unacked_index`. Channels too: events and remote control go over
//!   `acme//0.celeryev/...` and `acme//0.celery.pidbox`, where no worker of ours listens.
//! - Celery's backend puts an underscore behind the prefix: `acme/_celery-task-meta-<id>`, where a result is stored, is also the
//!   channel on which it is announced, and `acme/_celery-taskset-meta-<id>` with its suffixes is a group. It takes `-`, `:`, `_`
//!   or `.` at the end of a prefix for a separator in 5.7 and not in 5.4; with `/` both do the same.
//!
//! Our own keys have no such prefix, so that nobody who may use `acme/*` alone reaches one. What they name is named by
//! [`scoped`].

use crate::{
    store::{Table, scope::scoped},
    task::{Bucket, OwnedTask, QueueName, TaskId, Tenant},
};

/// Hash of delivery tag to record: what consumers hold (2.2).
pub const UNACKED: &str = "unacked";

/// Sorted set of delivery tags by the time at which they were last known to be held (2.2).
pub const UNACKED_INDEX: &str = "unacked_index";

/// The lock of Kombu's consumers while they restore what was held for too long (2.3).
pub const UNACKED_MUTEX: &str = "unacked_mutex";

/// Our lock while one of us restores what the dead have held.
pub const RESTORE_LOCK: &str = "host:restore";

/// Sorted set of the tags of delayed messages, by the time at which they are due.
pub const DELAYED: &str = "host:delayed";

/// Hash of tag to delayed message.
pub const DELAYED_MESSAGES: &str = "host:delayed:messages";

/// Sorted set of the names of parked messages, by the time at which they are put back.
pub const PARKED: &str = "host:parked";

/// Hash of name to parked message.
pub const PARKED_MESSAGES: &str = "host:parked:messages";

/// Hash of task to the number of messages that are parked for it.
pub const PARKED_TASKS: &str = "host:parked:tasks";

/// What the key of [`parked_of`] begins with.
pub const PARKED_OF: &str = "host:parked:task:";

/// Hash of limited task to the number of its messages that are set aside.
pub const ASIDE: &str = "host:aside";

/// What the key of [`places`] begins with.
pub const PLACES: &str = "host:aside:places:";

/// What the key of [`aside_list`] begins with.
pub const ASIDE_LIST: &str = "host:aside:list:";

/// What the key begins with that tells which message of a list was set aside and was put to its head last, by its SHA-1.
pub const ASIDE_HEAD: &str = "host:aside:head:";

/// What is known of the dead letters: hash of id to all but the message, hash of id to message, sorted sets of the ids by the
/// times, in microseconds, since when they are here and when they expire, and how many bytes they are together.
pub const DEAD: [&str; 5] =
    ["host:dead:letters", "host:dead:messages", "host:dead:since", "host:dead:expires", "host:dead:bytes"];

/// Hash of group to what has to be known to finish its chord, which is complete.
pub const CHORDS: &str = "host:chords";

/// Sorted set of those groups by the time, in microseconds, since when their chords are complete.
pub const CHORDS_SINCE: &str = "host:chords:since";

/// Hash of tenant to the bytes that its entries take.
pub const ENTRIES_USED: &str = "host:kv:used";

/// Counts what was ever revoked. Workers watch it.
pub const REVISION: &str = "host:revoked:revision";

/// What is revoked: hash of target to what is known of it, sorted sets of the targets by the time until which they are
/// remembered and by the revision at which they last changed.
pub const REVOKED: [&str; 3] = ["host:revoked", "host:revoked:until", "host:revoked:changes"];

/// Counts the changes of records. Every process watches it.
pub const RECORDS_REVISION: &str = "host:records:revision";

/// List of what was done to records, the newest first.
pub const AUDIT: &str = "host:audit";

/// Hash of digest to uploaded code, and sorted set of the digests by the time, in microseconds, at which it was last put.
pub const BLOBS: [&str; 2] = ["host:blobs", "host:blobs:since"];

/// Sorted set of the owners that beat, by the time at which their leases end.
pub const WORKERS: &str = "host:workers";

/// The sets in which Kombu notes which queues are bound to an exchange (2.1).
pub const BINDINGS: &str = "_kombu.binding.";

/// The exchange over which workers are asked (8.1).
pub const PIDBOX: &str = "celery.pidbox";

/// The exchange over which they reply (8.2).
pub const REPLIES: &str = "reply.celery.pidbox";

/// Parts a queue from its priority step, and the fields of a binding. No queue name can contain it: names have no
/// control characters.
pub const SEPARATOR: &str = "\x06\x16";

/// Each queue is this many lists, one per step; a message is in the list of the largest step up to its priority.
pub const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];

/// The step whose list holds messages of `priority`.
pub fn step(priority: u8) -> u8 {
    PRIORITY_STEPS.into_iter().rfind(|step| *step <= priority).unwrap_or(0)
}

/// The list of a queue's messages of one step.
pub fn list(queue: &QueueName, step: u8) -> String {
    list_of(queue.as_str(), step)
}

/// All lists of a queue, the most urgent first.
pub fn lists(queue: &QueueName) -> [String; PRIORITY_STEPS.len()] {
    lists_of(queue.as_str())
}

/// The same for a queue that is not one of tasks.
pub fn lists_of(queue: &str) -> [String; PRIORITY_STEPS.len()] {
    PRIORITY_STEPS.map(|step| list_of(queue, step))
}

fn list_of(queue: &str, step: u8) -> String {
    match step {
        0 => queue.to_owned(),
        step => format!("{queue}{SEPARATOR}{step}"),
    }
}

/// The set that tells which queues of a tenant are bound to what it calls `exchange`.
pub fn bindings(tenant: &Tenant, exchange: &str) -> String {
    tenant.shown(&format!("{BINDINGS}{exchange}")).into_owned()
}

/// The binding of a queue to the direct exchange of its own name, as Celery declares it.
pub fn own_binding(queue: &str) -> String {
    format!("{queue}{SEPARATOR}{SEPARATOR}{queue}")
}

/// Whose bindings are in this key; `None` if it is no such key.
pub fn bindings_of(key: &str) -> Option<Tenant> {
    let (prefix, _) = key.split_once(BINDINGS)?;
    match prefix.strip_suffix('/') {
        Some(tenant) => Tenant::new(tenant).ok(),
        None => prefix.is_empty().then_some(Tenant::DEFAULT),
    }
}

/// The routing key and the queue of a binding; what is no binding has none.
pub fn parse_binding(member: &str) -> Option<(&str, &str)> {
    let (routing_key, rest) = member.split_once(SEPARATOR)?;
    let (_pattern, queue) = rest.split_once(SEPARATOR)?;
    Some((routing_key, queue))
}

/// The channel of the events with this routing key (7.1).
pub fn events(database: i64, routing_key: &str) -> String {
    format!("/{database}.celeryev/{routing_key}")
}

/// The channel of requests to all workers (8.1).
pub fn requests(database: i64) -> String {
    format!("/{database}.{PIDBOX}")
}

/// The queue that Kombu would use for requests to a worker if there were no channels.
pub fn worker_inbox(node: &str) -> String {
    format!("{node}.{PIDBOX}")
}

/// The binding by which a worker tells that it listens to requests.
pub fn worker_binding(node: &str) -> String {
    format!("{SEPARATOR}{SEPARATOR}{}", worker_inbox(node))
}

/// The list of the replies to whoever has opened the inbox of this name.
pub fn inbox(name: &str) -> String {
    format!("{name}.{REPLIES}")
}

/// The binding by which somebody tells that they wait for replies.
pub fn inbox_binding(name: &str) -> String {
    format!("{name}{SEPARATOR}{SEPARATOR}{}", inbox(name))
}

/// Where the result of a tenant's task is stored, and the channel on which it is announced.
pub fn result(tenant: &Tenant, id: &TaskId) -> String {
    match tenant.name() {
        None => format!("celery-task-meta-{id}"),
        Some(tenant) => format!("{tenant}/_celery-task-meta-{id}"),
    }
}

/// What the keys of all results of a tenant begin with, and no others do.
pub fn results(tenant: &Tenant) -> String {
    match tenant.name() {
        None => "celery-task-meta-".to_owned(),
        Some(tenant) => format!("{tenant}/_celery-task-meta-"),
    }
}

/// What is known of a tenant's group; with endings, of its chord (celery-protocol.md, 4.4).
pub fn group(tenant: &Tenant, id: &TaskId) -> String {
    match tenant.name() {
        None => format!("celery-taskset-meta-{id}"),
        Some(tenant) => format!("{tenant}/_celery-taskset-meta-{id}"),
    }
}

/// Exists once what follows a tenant's chord was sent, where its results are elsewhere.
pub fn chord_sent(tenant: &Tenant, id: &TaskId) -> String {
    format!("host:chord:sent:{}", scoped(tenant, id.as_str()))
}

/// A task among those of all tenants, as our keys name it.
pub fn task(OwnedTask { tenant, task }: &OwnedTask) -> String {
    scoped(tenant, task.as_str()).into_owned()
}

/// Exists while it is known that something was sent under this key.
pub fn once(key: &str) -> String {
    format!("host:once:{key}")
}

/// Sorted set of the names of the messages that are parked for a task, by the time since when they are.
pub fn parked_of(task: &str) -> String {
    format!("{PARKED_OF}{task}")
}

/// The name of a parked message: the tag under which it was last delivered, and its task.
pub fn parked_name(tag: &str, task: &str) -> String {
    format!("{tag}{SEPARATOR}{task}")
}

/// Where messages of one list are set aside: a name that tells which list that is.
pub fn place(step: u8, queue: &QueueName) -> String {
    format!("{step}.{queue}")
}

/// The set of the places where messages of a limited task are set aside.
pub fn places(task: &str) -> String {
    format!("{PLACES}{task}")
}

/// The list of the messages of a limited task that are set aside in one place.
pub fn aside_list(task: &str, place: &str) -> String {
    format!("{ASIDE_LIST}{task}{SEPARATOR}{place}")
}

/// A limited task's bucket.
pub fn bucket(task: &str) -> String {
    format!("host:bucket:{task}")
}

/// Hash of key to record of this kind, and hash of key to the revision at which it was last changed.
pub fn records(table: Table) -> [String; 2] {
    [format!("host:records:{}", table.name()), format!("host:records:{}:revisions", table.name())]
}

/// List of what was done to a tenant's records, the newest first.
pub fn audit_of(tenant: &Tenant) -> String {
    format!("{AUDIT}:of:{}", tenant.name().unwrap_or_default())
}

/// Hash of how often something was called, and how often that failed.
pub fn count(name: &str) -> String {
    format!("host:count:{name}")
}

/// Hash of key to value: the entries of a bucket.
pub fn entries(bucket: &Bucket) -> String {
    format!("host:kv:entries:{}/{}", bucket.tenant.name().unwrap_or_default(), bucket.name)
}

/// Sorted set of the keys of a bucket, in the order of their bytes.
pub fn entry_keys(bucket: &Bucket) -> String {
    format!("host:kv:keys:{}/{}", bucket.tenant.name().unwrap_or_default(), bucket.name)
}

/// Set of the buckets of a tenant in which there is something.
pub fn buckets(tenant: &Tenant) -> String {
    format!("host:kv:buckets:{}", tenant.name().unwrap_or_default())
}

/// Exists while the owner lives; says what it reports of itself.
pub fn heartbeat(owner: &str) -> String {
    format!("host:worker:{owner}")
}

/// Whether a key of which a take speaks can change without anything having come that could be taken.
pub fn is_no_arrival(key: &[u8]) -> bool {
    let known = [UNACKED, UNACKED_INDEX, DELAYED_MESSAGES, REVISION, RECORDS_REVISION];
    known.iter().chain(&REVOKED).any(|known| key == known.as_bytes())
        || key.starts_with(heartbeat("").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_the_list_of_the_largest_step_up_to_its_priority() {
        let queue = QueueName::new("celery").unwrap();
        for (priority, key) in [
            (0, "celery"),
            (2, "celery"),
            (3, "celery\x06\x163"),
            (5, "celery\x06\x163"),
            (6, "celery\x06\x166"),
            (9, "celery\x06\x169"),
            (255, "celery\x06\x169"),
        ] {
            assert_eq!(list(&queue, step(priority)), key, "priority {priority}");
        }
    }

    #[test]
    fn bindings_are_read_as_kombu_writes_them() {
        assert_eq!(own_binding("celery"), "celery\x06\x16\x06\x16celery");
        assert_eq!(parse_binding(&own_binding("celery")), Some(("celery", "celery")));
        assert_eq!(parse_binding("a.#\x06\x16^a\\..*?$\x06\x16tq"), Some(("a.#", "tq")));
        assert_eq!(parse_binding("celery"), None);
    }

    #[test]
    fn bindings_tell_by_their_key_whose_they_are() {
        let acme = Tenant::new("acme").unwrap();
        for tenant in [Tenant::DEFAULT, acme] {
            assert_eq!(bindings_of(&bindings(&tenant, "celery")), Some(tenant));
        }
        for other in ["acme_kombu.binding.x", "A/_kombu.binding.x", "a/b/_kombu.binding.x", "celery"] {
            assert_eq!(bindings_of(other), None, "{other}");
        }
    }
}

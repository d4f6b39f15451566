//! Messages that wait for a plugin that offers their task.

use std::collections::BTreeMap;

use super::{Redis, keys, script};
use crate::{
    store::{StoreError, scope::unscoped},
    task::{OwnedTask, TaskName},
};

/// The most messages, and the most bytes of them, that one step puts back: a server busy with one step serves nobody else.
const MOST: usize = 1_000;
const LARGEST: usize = 4 << 20;

/// The most tasks in one page of their counts.
const PAGE: usize = 1_000;

/// A task as [`keys::task`] names it.
pub fn read_task(name: &[u8]) -> Option<OwnedTask> {
    let (tenant, task) = unscoped(std::str::from_utf8(name).ok()?)?;
    Some(OwnedTask { tenant, task: TaskName::new(task).ok()? })
}

impl Redis {
    /// See [`crate::store::Broker::parked`].
    pub(super) async fn parked_tasks(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError> {
        // A scan may give a task twice.
        let mut parked = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(keys::PARKED_TASKS).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(Vec<u8>, u64)>) = self.commands.ask(&scan).await?;
            let named = page.into_iter().filter_map(|(task, count)| Some((read_task(&task)?, count)));
            parked.extend(named);
            cursor = next;
            if cursor == 0 {
                return Ok(parked.into_iter().collect());
            }
        }
    }

    /// See [`crate::store::Broker::release`].
    pub(super) async fn release_parked(&self, task: &OwnedTask) -> Result<u64, StoreError> {
        let call = || {
            script::RELEASE
                .call()
                .key(keys::PARKED)
                .key(keys::PARKED_MESSAGES)
                .key(keys::PARKED_TASKS)
                .key(keys::parked_of(&keys::task(task)))
                .arg(keys::PARKED_OF)
                .arg(MOST)
                .arg(LARGEST)
        };
        let mut released = 0;
        loop {
            match self.commands.call::<u64>(&[call()]).await?.into_iter().sum() {
                0 => return Ok(released),
                some => released += some,
            }
        }
    }

    /// Puts back the messages whose time has come; answers how many.
    pub(super) async fn unpark(&self) -> Result<usize, StoreError> {
        let call = || {
            script::UNPARK
                .call()
                .key(keys::PARKED)
                .key(keys::PARKED_MESSAGES)
                .key(keys::PARKED_TASKS)
                .arg(keys::PARKED_OF)
                .arg(MOST)
                .arg(LARGEST)
        };
        let mut restored = 0;
        loop {
            match self.commands.call::<usize>(&[call()]).await?.into_iter().sum() {
                0 => return Ok(restored),
                some => restored += some,
            }
        }
    }
}

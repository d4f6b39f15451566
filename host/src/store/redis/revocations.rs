//! What is revoked, on Redis. Each worker keeps what it has heard and asks for what came after.

use async_trait::async_trait;

use super::{Redis, broker::LONGEST_WAIT, keys, script};
use crate::store::{
    Revocation, Revocations, StoreError, Target,
    scope::{scoped, unscoped},
};

/// The most revocations in one answer: a server busy with one answer serves nobody else.
const PAGE: usize = 5_000;

#[async_trait]
impl Revocations for Redis {
    async fn revoke(&self, revocations: &[Revocation]) -> Result<(), StoreError> {
        if revocations.is_empty() {
            return Ok(());
        }
        let call = revocations.iter().fold(
            script::REVOKE.call().key(keys::REVISION).key(&keys::REVOKED[..]),
            |call, revocation| {
                let target = serde_json::to_string(&revocation.target).expect("it is made of strings");
                call.arg(&*scoped(&revocation.tenant, &target))
                    .arg(revocation.until.as_microsecond())
                    .arg(revocation.until.to_string())
                    .arg(u8::from(revocation.terminate))
            },
        );
        self.commands.call::<redis::Value>(&[call]).await.map(drop)
    }

    async fn revoked_since(&self, revision: u64) -> Result<(Vec<Revocation>, u64), StoreError> {
        let mut told = Vec::new();
        let mut reached = revision;
        loop {
            let call = script::REVOKED_SINCE
                .call()
                .key(keys::REVISION)
                .key(&keys::REVOKED[..])
                .arg(reached)
                .arg(PAGE);
            // On the connection for taking, for that is the one to which Redis tells what changes.
            let mut answer = self.takes.call::<Vec<Vec<u8>>>(&[call]).await?.into_iter().flatten();
            let mut number = || std::str::from_utf8(&answer.next()?).ok()?.parse::<u64>().ok();
            let (next, more) = (number().unwrap_or(0), number() == Some(1));
            while let (Some(target), Some(known)) = (answer.next(), answer.next()) {
                match read(&target, &known) {
                    Some(revocation) => told.push(revocation),
                    None => tracing::warn!("a revocation that was not written by a worker is passed over"),
                }
            }
            reached = next;
            if !more {
                return Ok((told, reached));
            }
        }
    }

    async fn revoked_news(&self) {
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT, self.revoked.notified()).await;
    }
}

/// Reads what is known of a target: whether it is also stopped, and until when all this is so.
fn read(target: &[u8], known: &[u8]) -> Option<Revocation> {
    let (tenant, target) = unscoped(std::str::from_utf8(target).ok()?)?;
    let target: Target = serde_json::from_str(target).ok()?;
    let (terminate, until) = std::str::from_utf8(known).ok()?.split_once(' ')?;
    Some(Revocation { tenant, target, terminate: terminate == "1", until: until.parse().ok()? })
}

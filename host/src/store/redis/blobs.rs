//! Uploaded code on Redis, and how often it was run.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Redis, broker::CHUNK, keys, script};
use crate::store::{Blobs, Count, Counts, StoreError};

/// How long a count is kept to which nobody adds.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[async_trait]
impl Blobs for Redis {
    async fn put_blob(&self, digest: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let call = script::BLOB_PUT.call().key(&keys::BLOBS[..]).arg(digest).arg(&bytes[..]);
        self.commands.call::<redis::Value>(&[call]).await.map(drop)
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        let bytes: Option<Vec<u8>> =
            self.commands.ask(redis::cmd("HGET").arg(keys::BLOBS[0]).arg(digest)).await?;
        Ok(bytes.map(Bytes::from))
    }

    async fn blobs(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let call = script::BLOB_LIST.call().key(&keys::BLOBS[..]);
        let mut blobs: Vec<_> =
            self.commands.call::<Vec<(String, u64)>>(&[call]).await?.into_iter().flatten().collect();
        blobs.sort();
        Ok(blobs)
    }

    async fn drop_blobs(&self, digests: &[String], unused: Duration) -> Result<u64, StoreError> {
        let unused = u64::try_from(unused.as_micros()).unwrap_or(u64::MAX);
        let call =
            |digests: &[String]| script::BLOB_DROP.call().key(&keys::BLOBS[..]).arg(unused).arg(digests);
        let calls: Vec<_> = digests.chunks(CHUNK).map(call).collect();
        Ok(self.commands.call::<u64>(&calls).await?.into_iter().sum())
    }
}

#[async_trait]
impl Counts for Redis {
    async fn count(&self, counts: &[Count]) -> Result<(), StoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        let call = counts.iter().fold(
            script::COUNT.call().arg(super::broker::millis(LIFETIME)),
            |call, Count { name, calls, failures }| call.key(keys::count(name)).arg(calls).arg(failures),
        );
        self.commands.call::<redis::Value>(&[call]).await.map(drop)
    }

    async fn counted(&self, names: &[String]) -> Result<Vec<Count>, StoreError> {
        let ask = |name: &String| {
            redis::cmd("HMGET").arg(keys::count(name)).arg("calls").arg("failures").to_owned()
        };
        let counts: Vec<(Option<u64>, Option<u64>)> =
            self.commands.ask_all(names.iter().map(ask).collect()).await?;
        let count = |(name, (calls, failures)): (&String, (Option<u64>, Option<u64>))| Count {
            name: name.clone(),
            calls: calls.unwrap_or(0),
            failures: failures.unwrap_or(0),
        };
        Ok(names.iter().zip(counts).map(count).collect())
    }
}

//! Entries on Redis: a hash and a sorted set of keys for each bucket, and one hash with what each tenant's entries take.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Redis, keys, script};
use crate::{
    store::{KeyValue, StoreError},
    task::{Bucket, KeyValueAnswer, KeyValueQuery, Tenant},
};

#[async_trait]
impl KeyValue for Redis {
    async fn keyvalue(
        &self,
        bucket: &Bucket,
        quota: u64,
        query: &KeyValueQuery,
    ) -> Result<KeyValueAnswer, StoreError> {
        let change = |mode: &str| {
            let call = script::KEYVALUE.call().key(keys::entries(bucket)).key(keys::entry_keys(bucket));
            let call = call.key(keys::ENTRIES_USED).key(keys::buckets(&bucket.tenant));
            let tenant = bucket.tenant.name().unwrap_or_default();
            call.arg(tenant).arg(&bucket.name).arg(quota).arg(Bucket::OVERHEAD).arg(mode)
        };
        let call = match query {
            KeyValueQuery::Get(names) if names.is_empty() => return Ok(KeyValueAnswer::Values(Vec::new())),
            KeyValueQuery::Get(names) => {
                let mut get = redis::cmd("HMGET");
                get.arg(keys::entries(bucket)).arg(names);
                let values: Vec<Option<Vec<u8>>> = self.commands.ask(&get).await?;
                return Ok(KeyValueAnswer::Values(
                    values.into_iter().map(|value| value.map(Bytes::from)).collect(),
                ));
            }
            KeyValueQuery::Has(name) => {
                let mut has = redis::cmd("HEXISTS");
                has.arg(keys::entries(bucket)).arg(name);
                return self.commands.ask(&has).await.map(KeyValueAnswer::Is);
            }
            KeyValueQuery::Keys { most: 0, .. } => return Ok(KeyValueAnswer::Keys(Vec::new())),
            KeyValueQuery::Keys { skip, most } => {
                let mut range = redis::cmd("ZRANGE");
                let last = skip.saturating_add(*most as u64 - 1).min(i64::MAX as u64);
                range.arg(keys::entry_keys(bucket)).arg((*skip).min(i64::MAX as u64)).arg(last);
                return self.commands.ask(&range).await.map(KeyValueAnswer::Keys);
            }
            KeyValueQuery::Change(changes) => changes.iter().fold(change("set"), |call, (name, value)| {
                let call = call.arg(name).arg(u8::from(value.is_some()));
                call.arg(value.as_deref().unwrap_or_default())
            }),
            KeyValueQuery::Add { key, delta } => change("add").arg(key).arg(*delta),
        };
        let answers = self.commands.call::<(String, String)>(&[call]).await?;
        let (word, number) = answers.into_iter().next().unwrap_or_default();
        Ok(match word.as_str() {
            "changed" => KeyValueAnswer::Changed,
            "sum" => number.parse().map_or(KeyValueAnswer::NoNumber, KeyValueAnswer::Sum),
            "full" => KeyValueAnswer::Full { used: number.parse().unwrap_or(quota) },
            _ => KeyValueAnswer::NoNumber,
        })
    }

    async fn keyvalue_used(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let mut get = redis::cmd("HGET");
        get.arg(keys::ENTRIES_USED).arg(tenant.name().unwrap_or_default());
        Ok(self.commands.ask::<Option<u64>>(&get).await?.unwrap_or(0))
    }

    async fn keyvalue_forget(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let buckets: Vec<String> =
            self.commands.ask(redis::cmd("SMEMBERS").arg(keys::buckets(tenant))).await?;
        for name in buckets {
            let bucket = Bucket { tenant: tenant.clone(), name };
            let mut drop = redis::cmd("UNLINK");
            drop.arg(keys::entries(&bucket)).arg(keys::entry_keys(&bucket));
            self.commands.ask::<redis::Value>(&drop).await?;
        }
        self.commands.ask::<redis::Value>(redis::cmd("UNLINK").arg(keys::buckets(tenant))).await?;
        let mut used = redis::cmd("HDEL");
        used.arg(keys::ENTRIES_USED).arg(tenant.name().unwrap_or_default());
        self.commands.ask::<redis::Value>(&used).await.map(drop)
    }
}

//! Records and their audit on Redis. Redis tells each process when the revision changes.

use async_trait::async_trait;

use super::{Redis, broker::LONGEST_WAIT, keys, script};
use crate::{
    store::{
        Change, Entry, Record, RecordNews, Records, StoreError, Table,
        records::{MOST_ENTRIES, MOST_ENTRIES_OF_ONE},
    },
    task::Tenant,
};

#[async_trait]
impl Records for Redis {
    async fn revision(&self) -> Result<u64, StoreError> {
        // On the connection for taking, for that is the one to which Redis tells what changes.
        let revision: Option<u64> = self.takes.ask(redis::cmd("GET").arg(keys::RECORDS_REVISION)).await?;
        Ok(revision.unwrap_or(0))
    }

    async fn records_news(&self, known: u64) {
        let mut news = self.records.subscribe();
        // When it cannot be asked, the connection is opened anew, and that is news as well.
        if self.revision().await.is_ok_and(|revision| revision != known) {
            return;
        }
        // Running out of time is one of the two ways to return.
        let _ = tokio::time::timeout(LONGEST_WAIT, news.changed()).await;
    }

    async fn records_since(&self, table: Table, known: u64) -> Result<RecordNews, StoreError> {
        let [records, revisions] = keys::records(table);
        let call = script::RECORDS_SINCE.call().key(keys::RECORDS_REVISION).key(records).key(revisions);
        let answer = self.commands.call::<Vec<Vec<u8>>>(&[call.arg(known)]).await?;
        // What is no text was not written by us, and is passed over.
        let mut answer = answer.into_iter().flatten().map(|part| String::from_utf8(part).unwrap_or_default());
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let revision = number(answer.next());
        let after = if known > revision { 0 } else { known };
        let mut news = RecordNews { revision, ..RecordNews::default() };
        while let (Some(key), record, Some(value)) = (answer.next(), number(answer.next()), answer.next()) {
            news.keys.push(key.clone());
            if record > after {
                news.changed.push(Record { key, value, revision: record });
            }
        }
        news.keys.sort();
        news.changed.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(news)
    }

    async fn record(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        // Together they are one step, so that the revision is that of this value.
        let mut both = vec![redis::cmd("MULTI")];
        both.extend(keys::records(table).map(|hash| redis::cmd("HGET").arg(hash).arg(key).to_owned()));
        both.push(redis::cmd("EXEC"));
        let answer = self.commands.ask_all::<redis::Value>(both).await?.pop().unwrap_or(redis::Value::Nil);
        let (value, revision) = self.commands.read::<(Option<String>, Option<u64>)>(answer)?;
        Ok(value.zip(revision).map(|(value, revision)| Record { key: key.to_owned(), value, revision }))
    }

    async fn change(&self, changes: &[Change], entry: &Entry) -> Result<Option<u64>, StoreError> {
        let call = script::RECORDS_CHANGE
            .call()
            .key(keys::RECORDS_REVISION)
            .key(keys::AUDIT)
            .key(keys::audit_of(&entry.tenant))
            .arg(serde_json::to_string(entry).expect("an entry is made of texts"))
            .arg(MOST_ENTRIES)
            .arg(MOST_ENTRIES_OF_ONE);
        let call = changes.iter().fold(call, |call, change| {
            call.key(&keys::records(change.table)[..])
                .arg(&change.key)
                .arg(change.was.map_or(String::new(), |revision| revision.to_string()))
                .arg(u8::from(change.value.is_some()))
                .arg(change.value.as_deref().unwrap_or_default())
        });
        Ok(self.commands.call::<Option<u64>>(&[call]).await?.into_iter().flatten().next())
    }

    async fn entries(
        &self,
        tenant: Option<&Tenant>,
        skip: usize,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        // There are never more than are kept, and Redis does not know larger numbers than these.
        let (first, last) = (skip.min(MOST_ENTRIES), skip.saturating_add(most - 1).min(MOST_ENTRIES));
        let list = tenant.map_or_else(|| keys::AUDIT.to_owned(), keys::audit_of);
        let entries: Vec<Vec<u8>> =
            self.commands.ask(redis::cmd("LRANGE").arg(list).arg(first).arg(last)).await?;
        // What cannot be read was written by somebody else, or by a version that notes other things.
        Ok(entries.iter().filter_map(|entry| serde_json::from_slice(entry).ok()).collect())
    }
}

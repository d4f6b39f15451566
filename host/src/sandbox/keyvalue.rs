//! `wasi:keyvalue`: entries that outlive a run, in the tenant's own buckets.
//!
//! Everything is asked of the store when a guest calls it; nothing is kept here.

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{guest::Guest, refusals::Kind};
use crate::task::{KeyValueAnswer, KeyValueQuery};
use bindings::wasi::keyvalue::{atomics, batch, store};
use store::Error;

/// The traits that wasmtime makes out of the WIT files.
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package host:keyvalue;
            world imports {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }
        ",
        path: "../wit",
        world: "host:keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": super::OpenBucket },
    });
}

/// A bucket that a guest has opened.
pub struct OpenBucket {
    name: String,
}

/// The longest name of a bucket, and the longest key, in bytes.
const LONGEST_BUCKET: usize = 64;
const LONGEST_KEY: usize = 1024;

/// The largest value, in bytes.
const LARGEST_VALUE: usize = 1 << 20;

/// The most entries in one call, and the most bytes of values that one call gives back.
const MOST_ENTRIES: usize = 100;
const MOST_BYTES: usize = 4 << 20;

/// How many values are asked for at a time: with the largest values they are as many bytes as there may be.
const AT_ONCE: usize = MOST_BYTES / LARGEST_VALUE;

/// How many keys are listed at a time.
const PAGE: usize = 1000;

/// Links the interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    bindings::Imports::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl Guest {
    async fn ask(
        &mut self,
        bucket: &Resource<OpenBucket>,
        query: KeyValueQuery,
    ) -> wasmtime::Result<Result<KeyValueAnswer, Error>> {
        let bucket = self.table().get(bucket)?.name.clone();
        let Some(keyvalue) = self.keyvalue() else { return Ok(Err(Error::AccessDenied)) };
        Ok(match keyvalue(bucket, query).await {
            Ok(KeyValueAnswer::Full { used }) => {
                let quota = self.grants().keyvalue;
                let what = format!("keyvalue ({used} of {quota} bytes are used; [grants] keyvalue)");
                self.refuser().refuse(Kind::KeyValue, &what);
                Err(Error::Other(format!("the entries may take {quota} bytes, and take {used}")))
            }
            Ok(KeyValueAnswer::NoNumber) => {
                Err(Error::Other("what is there is no number, or the sum is too large".to_owned()))
            }
            Ok(answer) => Ok(answer),
            Err(reason) => Err(Error::Other(reason)),
        })
    }

    async fn change(
        &mut self,
        bucket: &Resource<OpenBucket>,
        changes: Vec<(String, Option<Bytes>)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        if let Err(error) =
            check(changes.iter().map(|(key, value)| (key, value.as_deref().unwrap_or_default())))
        {
            return Ok(Err(error));
        }
        Ok(self.ask(bucket, KeyValueQuery::Change(changes)).await?.map(drop))
    }
}

fn check<'a>(entries: impl ExactSizeIterator<Item = (&'a String, &'a [u8])>) -> Result<(), Error> {
    if entries.len() > MOST_ENTRIES {
        return Err(Error::Other(format!("at most {MOST_ENTRIES} entries can be used at a time")));
    }
    for (key, value) in entries {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Error::Other(format!("a key has 1 to {LONGEST_KEY} bytes, not {}", key.len())));
        }
        if value.len() > LARGEST_VALUE {
            return Err(Error::Other(format!(
                "a value has at most {LARGEST_VALUE} bytes, not {}",
                value.len()
            )));
        }
    }
    Ok(())
}

fn check_keys(keys: &[String]) -> Result<(), Error> {
    check(keys.iter().map(|key| (key, [].as_slice())))
}

impl store::Host for Guest {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<OpenBucket>, Error>> {
        if self.keyvalue().is_none() {
            let what = format!("keyvalue bucket {identifier:?} (not in [grants] keyvalue)");
            self.refuser().refuse(Kind::KeyValue, &what);
            return Ok(Err(Error::AccessDenied));
        }
        if identifier.is_empty() || identifier.len() > LONGEST_BUCKET || identifier.contains(char::is_control)
        {
            return Ok(Err(Error::NoSuchStore));
        }
        Ok(Ok(self.table().push(OpenBucket { name: identifier })?))
    }
}

impl store::HostBucket for Guest {
    async fn get(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let found = batch::Host::get_many(self, bucket, vec![key]).await?;
        Ok(found.map(|mut found| found.pop().flatten().map(|(_, value)| value)))
    }

    async fn set(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.change(&bucket, vec![(key, Some(value.into()))]).await
    }

    async fn delete(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.change(&bucket, vec![(key, None)]).await
    }

    async fn exists(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        if let Err(error) = check_keys(std::slice::from_ref(&key)) {
            return Ok(Err(error));
        }
        let answer = self.ask(&bucket, KeyValueQuery::Has(key)).await?;
        Ok(answer.map(|answer| answer == KeyValueAnswer::Is(true)))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<OpenBucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<store::KeyResponse, Error>> {
        let skip = cursor.unwrap_or(0);
        let answer = self.ask(&bucket, KeyValueQuery::Keys { skip, most: PAGE }).await?;
        Ok(answer.map(|answer| {
            let keys = if let KeyValueAnswer::Keys(keys) = answer { keys } else { Vec::new() };
            let cursor = (keys.len() == PAGE).then(|| skip.saturating_add(PAGE as u64));
            store::KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, bucket: Resource<OpenBucket>) -> wasmtime::Result<()> {
        self.table().delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, Error>> {
        if let Err(error) = check_keys(std::slice::from_ref(&key)) {
            return Ok(Err(error));
        }
        let Ok(delta) = i64::try_from(delta) else {
            return Ok(Err(Error::Other(format!("at most {} can be added", i64::MAX))));
        };
        let answer = self.ask(&bucket, KeyValueQuery::Add { key, delta }).await?;
        let sum = |answer| match answer {
            KeyValueAnswer::Sum(sum) => u64::try_from(sum).ok(),
            _ => None,
        };
        Ok(answer.and_then(|answer| sum(answer).ok_or(Error::Other("the sum is less than 0".to_owned()))))
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<(String, Vec<u8>)>>, Error>> {
        if let Err(error) = check_keys(&keys) {
            return Ok(Err(error));
        }
        let mut found = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for some in keys.chunks(AT_ONCE) {
            let values = match self.ask(&bucket, KeyValueQuery::Get(some.to_vec())).await? {
                Ok(KeyValueAnswer::Values(values)) => values,
                Ok(_) => Vec::new(),
                Err(error) => return Ok(Err(error)),
            };
            bytes += values.iter().flatten().map(Bytes::len).sum::<usize>();
            if bytes > MOST_BYTES {
                return Ok(Err(Error::Other(format!(
                    "these are more than {MOST_BYTES} bytes; ask for fewer"
                ))));
            }
            let entry = |(key, value): (&String, Option<Bytes>)| Some((key.clone(), value?.to_vec()));
            found.extend(some.iter().zip(values).map(entry));
        }
        Ok(Ok(found))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let changes = entries.into_iter().map(|(key, value)| (key, Some(value.into()))).collect();
        self.change(&bucket, changes).await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.change(&bucket, keys.into_iter().map(|key| (key, None)).collect()).await
    }
}

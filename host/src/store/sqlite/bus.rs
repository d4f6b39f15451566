//! Events, requests and replies on SQLite: rows that are read by those who listen, and soon thrown away.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::watch;

use super::{Sqlite, clock, lane::Lane};
use crate::store::{
    StoreError,
    bus::{Broadcast, Bus, Inbox, Listener, Speaker, Topic},
};

/// How long broadcasts are there for listeners to read.
const BROADCASTS_STAY: Duration = Duration::from_secs(60);

/// How many are there at most, and how many bytes of them: room for the events of a busy second.
const MOST_BROADCASTS: i64 = 1_000;
const LARGEST_BROADCASTS: i64 = 16 << 20;

/// How long the inbox of a process that was killed is there.
const INBOXES_STAY: Duration = Duration::from_secs(3600);

/// The most rows that are read at a time.
const PAGE: usize = 200;

/// How long is waited until something that could not be read is tried again.
const PAUSE: Duration = Duration::from_millis(200);

#[async_trait]
impl Bus for Sqlite {
    async fn broadcast(&self, broadcasts: &[Broadcast]) -> Result<Option<usize>, StoreError> {
        if !broadcasts.is_empty() {
            let broadcasts = broadcasts.to_vec();
            self.writes.run(move |connection| broadcast(connection, &broadcasts)).await?;
        }
        Ok(None)
    }

    async fn listen(&self, topic: Topic) -> Result<Listener, StoreError> {
        let news = self.watch.broadcasts.subscribe();
        let heard = self.reads.run(newest).await?;
        let speaker = Speaker::default();
        let service = keep_listening(self.reads.clone(), topic, heard, speaker.clone(), news);
        Ok(Listener::new(&speaker, tokio::spawn(service)))
    }

    /// All who share the file know each other by their heartbeats.
    async fn bind(&self, _node: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn unbind(&self, _node: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reply(&self, inbox: &str, message: &[u8]) -> Result<(), StoreError> {
        let (inbox, message) = (inbox.to_owned(), message.to_vec());
        let reply = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "INSERT INTO replies (inbox, message)
                     SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM inboxes WHERE name = ?1)",
                )?
                .execute(params![inbox, message])
                .map(drop)
        };
        self.writes.run(reply).await
    }

    async fn open_inbox(&self) -> Result<Box<dyn Inbox>, StoreError> {
        let name = uuid::Uuid::new_v4().to_string();
        let news = self.watch.broadcasts.subscribe();
        let opened = name.clone();
        self.writes.run(move |connection| open_inbox(connection, &opened)).await?;
        Ok(Box::new(Replies { name, writes: self.writes.clone(), news }))
    }
}

/// Adds broadcasts, and throws away what is too old or too much.
fn broadcast(connection: &Connection, broadcasts: &[Broadcast]) -> rusqlite::Result<()> {
    let now = clock::now();
    let mut add =
        connection.prepare_cached("INSERT INTO broadcasts (topic, since, message) VALUES (?1, ?2, ?3)")?;
    for broadcast in broadcasts {
        add.execute(params![number(broadcast.topic), now, &broadcast.message[..]])?;
    }
    connection
        .prepare_cached("DELETE FROM broadcasts WHERE since NOT BETWEEN ?1 AND ?2")?
        // What is from the future was written before somebody has set the clock.
        .execute([now - ago(BROADCASTS_STAY), now])?;
    connection
        .prepare_cached(
            "DELETE FROM broadcasts WHERE id <= (
                SELECT max(id) FROM (
                    SELECT id, row_number() OVER newer AS place, sum(length(message)) OVER newer AS bytes
                    FROM broadcasts WINDOW newer AS (ORDER BY id DESC)
                ) WHERE place > ?1 OR bytes > ?2)",
        )?
        .execute([MOST_BROADCASTS, LARGEST_BROADCASTS])
        .map(drop)
}

fn open_inbox(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    let now = clock::now();
    connection
        .prepare_cached("DELETE FROM inboxes WHERE since NOT BETWEEN ?1 AND ?2")?
        .execute([now - ago(INBOXES_STAY), now])?;
    connection
        .prepare_cached("DELETE FROM replies WHERE inbox NOT IN (SELECT name FROM inboxes)")?
        .execute(())?;
    connection
        .prepare_cached("INSERT INTO inboxes (name, since) VALUES (?1, ?2)")?
        .execute(params![name, now])?;
    Ok(())
}

fn ago(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn number(topic: Topic) -> i64 {
    match topic {
        Topic::Events => 0,
        Topic::Requests => 1,
    }
}

/// The number of the last broadcast.
fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let mut newest =
        connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'broadcasts'")?;
    Ok(newest.query_row((), |row| row.get(0)).optional()?.unwrap_or(0))
}

/// What a look at the broadcasts after `heard` has found.
struct News {
    messages: Vec<Bytes>,
    /// Up to where it has looked.
    reached: i64,
    /// Whether some were thrown away that were not read.
    gap: bool,
    /// Whether there is more.
    more: bool,
}

fn news_since(connection: &Connection, topic: Topic, heard: i64) -> rusqlite::Result<News> {
    let newest = newest(connection)?;
    let oldest: Option<i64> =
        connection.prepare_cached("SELECT min(id) FROM broadcasts")?.query_row((), |row| row.get(0))?;
    let gap = oldest.map_or(newest, |oldest| oldest - 1) > heard;
    let mut query = connection.prepare_cached(
        "SELECT id, message FROM broadcasts WHERE topic = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = query.query(params![number(topic), heard, PAGE as i64])?;
    let (mut messages, mut last) = (Vec::new(), heard);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        messages.push(row.get::<_, Vec<u8>>(1)?.into());
    }
    let more = messages.len() == PAGE;
    Ok(News { messages, reached: if more { last } else { newest }, gap, more })
}

/// Reads what is broadcast, for ever.
async fn keep_listening(
    reads: Lane,
    topic: Topic,
    mut heard: i64,
    speaker: Speaker,
    mut news: watch::Receiver<u64>,
) {
    loop {
        match reads.run(move |connection| news_since(connection, topic, heard)).await {
            Ok(found) => {
                if found.gap {
                    speaker.gap();
                }
                found.messages.into_iter().for_each(|message| speaker.say(message));
                heard = found.reached;
                if found.more {
                    continue;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot listen; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        // The sender ends with the store, and then there is nothing more to hear.
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// An inbox.
struct Replies {
    name: String,
    writes: Lane,
    news: watch::Receiver<u64>,
}

#[async_trait]
impl Inbox for Replies {
    fn name(&self) -> &str {
        &self.name
    }

    async fn receive(&mut self) -> Result<Vec<Bytes>, StoreError> {
        loop {
            self.news.mark_unchanged();
            let name = self.name.clone();
            let take = move |connection: &Connection| {
                let mut take = connection
                    .prepare_cached("DELETE FROM replies WHERE inbox = ?1 RETURNING id, message")?;
                let rows =
                    take.query_map([&name], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into())))?;
                let mut taken = rows.collect::<rusqlite::Result<Vec<(i64, Bytes)>>>()?;
                taken.sort_by_key(|(id, _)| *id);
                Ok(taken)
            };
            let taken = self.writes.run(take).await?;
            if !taken.is_empty() {
                return Ok(taken.into_iter().map(|(_, message)| message).collect());
            }
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { name, writes, .. } = *self;
        let close = move |connection: &Connection| {
            connection.prepare_cached("DELETE FROM inboxes WHERE name = ?1")?.execute([&name])?;
            connection.prepare_cached("DELETE FROM replies WHERE inbox = ?1")?.execute([&name])
        };
        writes.run(close).await.map(drop)
    }
}

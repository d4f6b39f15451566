-- Version 2, on top of version 1.

-- What was told to all a short while ago: topic 0 are events, 1 are requests to workers. Kept for as long as it takes to
-- read it.
CREATE TABLE broadcasts (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    topic   INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    message BLOB    NOT NULL
) STRICT;
CREATE INDEX broadcasts_since ON broadcasts (since);

-- Those who wait for replies, and what they have not read yet.
CREATE TABLE inboxes (name TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE replies (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox   TEXT    NOT NULL,
    message BLOB    NOT NULL
) STRICT;
CREATE INDEX replies_by_inbox ON replies (inbox);

-- What is known of groups.
CREATE TABLE groups (
    group_id TEXT PRIMARY KEY,
    -- How many parts its chord waits for, once that is known.
    size     INTEGER,
    -- JSON.
    shape    TEXT,
    -- How many parts were counted.
    parts    INTEGER NOT NULL DEFAULT 0,
    -- Of a chord that is complete: what has to be known to finish it, until it is finished.
    chord    TEXT,
    -- Whether it was complete: then no part is counted any more.
    complete INTEGER NOT NULL DEFAULT 0,
    -- None is never.
    expires  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX groups_complete ON groups (group_id) WHERE chord IS NOT NULL;
CREATE INDEX groups_expire ON groups (expires) WHERE expires IS NOT NULL;

-- How the parts of chords have ended. A part without a place comes last.
CREATE TABLE parts (
    group_id TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    task_id  TEXT    NOT NULL,
    ending   TEXT    NOT NULL,
    PRIMARY KEY (group_id, place, task_id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER group_goes AFTER DELETE ON groups BEGIN
    DELETE FROM parts WHERE group_id = old.group_id;
END;

-- Messages of limited tasks that are set aside have state 4, and their task. Of a message that was put back from there to the
-- head of its list, state 0, the task stays until it is taken.
CREATE INDEX aside ON messages (task, step, queue, position) WHERE state = 4;

-- From when on, in microseconds since 1970, a limited task's next token is there.
CREATE TABLE buckets (task TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;

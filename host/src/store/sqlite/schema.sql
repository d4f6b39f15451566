-- Version 1. Times called due, until, since, expires are microseconds since 1970; those of leases are in clock.rs.

-- Each message is in one place at a time. state: 0 waits, 1 is held by a worker, 2 waits for its time, 3 is parked.
CREATE TABLE messages (
    id       INTEGER PRIMARY KEY,
    state    INTEGER NOT NULL,
    queue    TEXT    NOT NULL,
    -- The priority step: 0, 3, 6 or 9.
    step     INTEGER NOT NULL,
    -- Among those waiting in one list, and among those parked for one task: the smallest is first.
    position INTEGER NOT NULL DEFAULT 0,
    -- Of held messages: these two are the tag.
    owner    TEXT,
    number   INTEGER,
    -- Of those that wait for their time, and of parked ones: when it has come.
    due      INTEGER,
    -- Of parked messages.
    task     TEXT,
    message  BLOB    NOT NULL
) STRICT;
CREATE INDEX waiting ON messages (queue, step, position) WHERE state = 0;
CREATE UNIQUE INDEX held ON messages (owner, number) WHERE state = 1;
CREATE INDEX delayed ON messages (queue, step, due) WHERE state = 2;
CREATE INDEX parked ON messages (task, position) WHERE state = 3;
CREATE INDEX parked_until ON messages (due) WHERE state = 3;

-- Who holds messages, and until when others believe it. A lease counts in its boot from `renewed` for `lease` milliseconds.
CREATE TABLE owners (
    owner   TEXT    PRIMARY KEY,
    boot    TEXT    NOT NULL,
    renewed INTEGER NOT NULL,
    lease   INTEGER NOT NULL,
    -- JSON; none before the first heartbeat.
    report  TEXT
) STRICT, WITHOUT ROWID;

-- Deliveries that an owner does not know yet to have lost.
CREATE TABLE lost (
    owner  TEXT    NOT NULL,
    number INTEGER NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (owner, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- A result that is replaced gets a new `seq`: whoever waits looks only at what is newer than what it has seen.
CREATE TABLE results (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT    NOT NULL UNIQUE,
    state   TEXT    NOT NULL,
    meta    TEXT    NOT NULL,
    -- None is never.
    expires INTEGER
) STRICT;
CREATE INDEX results_expire ON results (expires) WHERE expires IS NOT NULL;

-- An id is never given twice, so a letter is not taken for one that was here before.
CREATE TABLE dead_letters (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    queue   TEXT    NOT NULL,
    step    INTEGER NOT NULL,
    -- JSON.
    cause   TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    message BLOB    NOT NULL
) STRICT;
CREATE INDEX dead_letters_expire ON dead_letters (expires);

CREATE TABLE revocations (
    -- JSON.
    target    TEXT    PRIMARY KEY,
    revision  INTEGER NOT NULL,
    terminate INTEGER NOT NULL,
    until     INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_by_revision ON revocations (revision);
CREATE INDEX revocations_until ON revocations (until);

-- One row each: how often something was revoked; how many dead letters there are, and of how many bytes.
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('revision', 0), ('dead_count', 0), ('dead_bytes', 0);

CREATE TRIGGER dead_letter_comes AFTER INSERT ON dead_letters BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'dead_count';
    UPDATE counters SET value = value + length(new.message) + octet_length(new.cause) WHERE name = 'dead_bytes';
END;
CREATE TRIGGER dead_letter_goes AFTER DELETE ON dead_letters BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'dead_count';
    UPDATE counters SET value = value - length(old.message) - octet_length(old.cause) WHERE name = 'dead_bytes';
END;

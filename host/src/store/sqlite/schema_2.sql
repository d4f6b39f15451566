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

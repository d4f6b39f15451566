-- Version 5, on top of version 4.

-- What was sent once under a key, and until when that is known.
CREATE TABLE once (key TEXT PRIMARY KEY, value TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX once_until ON once (until);

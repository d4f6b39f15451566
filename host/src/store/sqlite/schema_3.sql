-- Version 3, on top of version 2.

-- What people set up, as JSON. A record's revision is the value of the counter `records` when it was changed last.
CREATE TABLE records (
    kind     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    value    TEXT    NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('records', 0);

-- Who changed what, as JSON; each entry once among those of its tenant, and once among those of all, which have no tenant.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT,
    entry  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant, id);

-- Uploaded code by its SHA-256 in hexadecimal, and when it was last put.
CREATE TABLE blobs (
    digest TEXT    PRIMARY KEY,
    since  INTEGER NOT NULL,
    bytes  BLOB    NOT NULL
) STRICT;

-- How often something was called, and how often that failed.
CREATE TABLE counts (
    name     TEXT    PRIMARY KEY,
    calls    INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX counts_expire ON counts (expires);

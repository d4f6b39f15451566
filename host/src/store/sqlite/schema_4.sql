-- Version 4, on top of version 3.

-- What guests keep. The default tenant is the empty text.
CREATE TABLE entries (
    tenant TEXT NOT NULL,
    bucket TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (tenant, bucket, key)
) STRICT;

-- How many bytes a tenant's entries take.
CREATE TABLE entries_used (tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;

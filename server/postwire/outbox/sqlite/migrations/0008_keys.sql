-- What is kept of keys.

-- The one that what is looked up by a hash hangs on; wrapped, where contents are encrypted. See `outbox.sqlite.keys`.
CREATE TABLE lookup_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    wrapped BLOB NOT NULL
) STRICT;

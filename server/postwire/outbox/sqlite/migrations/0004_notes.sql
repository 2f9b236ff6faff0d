-- What operators have done, and why.

-- The last of it on a message: JSON of action, reason and time (µs since the epoch), or NULL.
ALTER TABLE messages ADD COLUMN note TEXT;

-- The same for providers, drained or not.
CREATE TABLE provider_notes (
    provider_name TEXT PRIMARY KEY,
    note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The revision that a change led to: whoever watches leaves out a change that a later one has overtaken, and so sees each
-- revision once. NULL in what was written before.
ALTER TABLE changes ADD COLUMN revision INTEGER;

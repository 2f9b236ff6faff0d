-- Labels apart from the record, as contents are: they may be erased while the record stays. Where a record grows, SQLite moves
-- the rows beside it between pages and leaves copies behind; a row of this table never grows.
CREATE TABLE labels (
    key INTEGER PRIMARY KEY,
    -- JSON; empty once they are erased. A message without labels has no row.
    labels TEXT NOT NULL
) STRICT;

INSERT INTO labels (key, labels) SELECT key, labels FROM messages WHERE labels IS NOT NULL;

ALTER TABLE messages DROP COLUMN labels;

-- What providers report later of messages that they took. Whose recipient it is about is kept as a position, or as a keyed
-- hash of the address where that is not known yet: no address is here in clear.

-- JSON: the receipts that the record lists. NULL where there are none.
ALTER TABLE messages ADD COLUMN receipts TEXT;
-- Why it stands where it does, where that is not what the last attempt says.
ALTER TABLE messages ADD COLUMN error_code TEXT;
-- JSON: the recipients that the attempt was for, by position. NULL for all of them.
ALTER TABLE attempts ADD COLUMN positions TEXT;

CREATE TABLE receipts (
    receipt INTEGER PRIMARY KEY,
    provider_name TEXT NOT NULL,
    -- By what it is known when it comes again.
    event BLOB NOT NULL,
    message_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    -- A position; -1 for all of the attempt's, -2 for one that is none of them as far as is known.
    recipient INTEGER NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    part TEXT NOT NULL,
    -- The vendor's.
    time INTEGER,
    permanent INTEGER NOT NULL,
    receive_time INTEGER NOT NULL,
    applied INTEGER NOT NULL DEFAULT 0,
    to_report INTEGER NOT NULL,
    -- When all was done with it; NULL until then.
    done_time INTEGER,
    UNIQUE (provider_name, event, recipient)
) STRICT;
CREATE INDEX receipts_of_messages ON receipts (message_id);
CREATE INDEX receipts_done ON receipts (done_time);

-- Receipts of messages or attempts that are not known.
CREATE TABLE held_receipts (
    held INTEGER PRIMARY KEY,
    provider_name TEXT NOT NULL,
    event BLOB NOT NULL,
    -- What the reference names: empty and 0 where there is none.
    message_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    provider_message_id TEXT NOT NULL,
    recipient_hash BLOB NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    time INTEGER,
    permanent INTEGER NOT NULL,
    receive_time INTEGER NOT NULL,
    to_report INTEGER NOT NULL,
    UNIQUE (provider_name, event)
) STRICT;
CREATE INDEX held_by_provider_message_id ON held_receipts (provider_name, provider_message_id);
CREATE INDEX held_by_message_id ON held_receipts (message_id);
CREATE INDEX held_by_time ON held_receipts (receive_time);

-- The ids that providers gave, of those that may report later.
CREATE TABLE provider_ids (
    provider_name TEXT NOT NULL,
    provider_message_id TEXT NOT NULL,
    message_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    -- As in `receipts`.
    recipient INTEGER NOT NULL,
    PRIMARY KEY (provider_name, provider_message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX provider_ids_of_messages ON provider_ids (message_id);

-- Whom a message is for, by which what is reported of an address finds its recipient: see docs/adr/0033. In place of a row that
-- is erased an empty one stays, as in `contents`.
CREATE TABLE recipients (
    key INTEGER PRIMARY KEY,
    -- 32 bytes for each, by position.
    hashes BLOB NOT NULL,
    sender TEXT NOT NULL
) STRICT;

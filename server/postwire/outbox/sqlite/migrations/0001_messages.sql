-- Messages, their content and their attempts. Words (channels, states, outcomes) are stored as DESIGN's section 1 spells
-- them, so that a person can read the file. Times and durations are whole microseconds.

-- One row a start of the service. An attempt that is open and belongs to an earlier boot was left by a crash.
CREATE TABLE boots (
    boot INTEGER PRIMARY KEY,
    start_time INTEGER NOT NULL
) STRICT;

-- What is written to find out whether the store can commit again.
CREATE TABLE marker (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO marker (id, value) VALUES (1, 0);

-- The record of a message. Message ids rise with acceptance, so what is sorted by them grows at its end. `key` is for
-- what is kept apart from the record and may be large.
CREATE TABLE messages (
    key INTEGER PRIMARY KEY,
    message_id BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    request_id TEXT NOT NULL,
    payload_hash BLOB NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    priority TEXT NOT NULL,
    delivery_guarantee TEXT NOT NULL,
    pinned_provider_name TEXT,
    max_attempts INTEGER,
    send_time INTEGER,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    next_attempt_time INTEGER,
    -- The latest attempt's number and provider: the first is what results are fenced by.
    attempt_number INTEGER NOT NULL,
    provider_name TEXT NOT NULL,
    -- JSON, or NULL where there are none.
    recipients TEXT,
    labels TEXT,
    revision INTEGER NOT NULL,
    UNIQUE (tenant, request_id)
) STRICT;

-- What is not settled, oldest first: the index stays as small as that is.
CREATE INDEX unsettled ON messages (create_time) WHERE state IN ('queued', 'sending');

-- Apart from the record, so that a change of state rewrites no content, and a scan of records reads none.
CREATE TABLE contents (
    key INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
    message_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    provider_name TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    -- NULL while the attempt is open.
    outcome TEXT,
    duration INTEGER,
    provider_message_id TEXT NOT NULL DEFAULT '',
    error_code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    trace_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message_id, number)
) STRICT, WITHOUT ROWID;

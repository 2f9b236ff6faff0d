-- The store in PostgreSQL 15 or newer. Times are µs since the epoch unless they are timestamptz, which is only what the
-- database's own clock says. Ids of messages are UUIDs of version 7: they sort by acceptance.
-- What is text and indexed is sorted by its bytes: an index that goes by a language is broken where a standby, or a host
-- after an upgrade, has another version of its rules (wiki.postgresql.org/wiki/Locale_data_changes).

CREATE TABLE facts (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);

-- A row for every start of a node; a number is never used again.
CREATE TABLE nodes (
    node bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    config_digest text NOT NULL DEFAULT '',
    queues text[] NOT NULL DEFAULT '{}',
    -- The highest number of a node that it knows of, and the last change of providers by operators that it has taken over.
    seen bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0,
    -- What of its providers' limits it has, as JSON.
    shares text NOT NULL DEFAULT '[]',
    clock_offset bigint NOT NULL DEFAULT 0,
    start_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- For how long a heartbeat keeps it among the living: in the row, since another node may have been given another.
    lease interval NOT NULL,
    lease_until timestamptz NOT NULL,
    lease_since timestamptz NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    -- The ids of the keys that it decrypts with, the first of which encrypts; NULL until it has taken keys up. What it
    -- has written before the transaction `keys_xid` may be encrypted with another one of them.
    keys text[],
    keys_xid xid8
) WITH (fillfactor = 20);

-- None of what is indexed changes while a message is on its way, so that every change is a heap-only one.
CREATE TABLE messages (
    message_id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    payload_hash bytea NOT NULL,
    channel text NOT NULL,
    state text NOT NULL,
    -- 0 is high, 1 normal, 2 low.
    priority smallint NOT NULL,
    delivery_guarantee text NOT NULL,
    pinned_provider_name text,
    max_attempts int,
    ignore_suppression boolean NOT NULL,
    accept_trace text NOT NULL,
    send_time bigint,
    create_time bigint NOT NULL,
    update_time bigint NOT NULL,
    expire_time bigint NOT NULL,
    deadline bigint,
    next_attempt_time bigint,
    follow_up_time bigint,
    revision int NOT NULL,
    queue text COLLATE "C" NOT NULL,
    -- The latest attempt's; 0 and '' before the first.
    attempt_number int NOT NULL,
    provider_name text COLLATE "C" NOT NULL,
    error_code text NOT NULL,
    -- How many receipts of it are not applied. In this row and not looked up: whoever waited for the row and goes on sees
    -- what is in it now, and of other tables what was there when he began (READ COMMITTED).
    unapplied int NOT NULL DEFAULT 0,
    -- JSON, each: see `rows`. NULL where there is nothing.
    attempts text,
    recipients text,
    labels json, -- and not jsonb, which has an order of its own
    note text,
    receipts text,
    UNIQUE (tenant, request_id)
) WITH (fillfactor = 60);

CREATE INDEX messages_by_tenant ON messages (tenant, message_id);

-- A row while a message is QUEUED. Keyed by the message: a second row for one would let it be taken twice.
CREATE TABLE waiting (
    message_id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    -- Whether it waits for the time that its caller gave, which is by the wall clock; all else is by the due clock.
    scheduled boolean NOT NULL,
    next_attempt_time bigint NOT NULL,
    expire_time bigint NOT NULL,
    deadline bigint
);

CREATE INDEX waiting_due ON waiting (queue, tenant, priority, scheduled, next_attempt_time);
CREATE INDEX waiting_expiring ON waiting (expire_time) WHERE deadline IS NULL;
CREATE INDEX waiting_deadlines ON waiting (deadline) WHERE deadline IS NOT NULL;

-- A row while an attempt is open: whose it is.
CREATE TABLE flying (message_id uuid PRIMARY KEY, node bigint NOT NULL);

CREATE INDEX flying_by_node ON flying (node);

-- A row while a message that was sent may have a further attempt, but for the time in which that is open.
CREATE TABLE follow_ups (message_id uuid PRIMARY KEY, follow_up_time bigint NOT NULL);

CREATE INDEX follow_ups_due ON follow_ups (follow_up_time);

-- Rows of these come and go with every message: what they leave behind is cleared after some thousands, however many
-- there are, and without a pause.
ALTER TABLE waiting SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE flying SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE follow_ups SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- None once it is erased.
CREATE TABLE contents (message_id uuid PRIMARY KEY, content bytea NOT NULL);
ALTER TABLE contents ALTER COLUMN content SET STORAGE EXTERNAL;

-- What follows a position is read by (xid, n), and never beyond the oldest transaction that is under way: a number alone
-- is given out before others are to be seen.
CREATE TABLE changes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    n bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000),
    tenant text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    revision int NOT NULL
);

CREATE INDEX changes_in_order ON changes (xid, n);

-- Up to which change all are forgotten.
CREATE TABLE feed (id int PRIMARY KEY CHECK (id = 1), floor_xid xid8 NOT NULL, floor_n bigint NOT NULL);
INSERT INTO feed (id, floor_xid, floor_n) VALUES (1, '0', 0);

-- A row each time that changes were forgotten: up to which one, and how many in all by then.
CREATE TABLE dropped (total bigint PRIMARY KEY, xid xid8 NOT NULL, n bigint NOT NULL);

-- The server's timelines on which changes were made, and a transaction before all of those. What another timeline has
-- called by this number, or by a later one, is another change.
CREATE TABLE timelines (timeline bigint PRIMARY KEY, start xid8 NOT NULL);

-- 32 bytes for each recipient, by position.
CREATE TABLE recipients (message_id uuid PRIMARY KEY, hashes bytea NOT NULL, sender text NOT NULL);

CREATE TABLE provider_ids (
    provider_name text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    attempt int NOT NULL,
    recipient int NOT NULL,
    PRIMARY KEY (provider_name, provider_message_id)
);

CREATE INDEX provider_ids_of_messages ON provider_ids (message_id);

CREATE TABLE receipts (
    receipt bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_name text COLLATE "C" NOT NULL,
    event bytea NOT NULL,
    message_id uuid NOT NULL,
    attempt int NOT NULL,
    -- A position; -1 for all of the attempt's, -2 for one that is none of them as far as is known.
    recipient int NOT NULL,
    state text NOT NULL,
    code text NOT NULL,
    part text NOT NULL,
    time bigint,
    permanent boolean NOT NULL,
    receive_time bigint NOT NULL,
    applied boolean NOT NULL DEFAULT false,
    to_report boolean NOT NULL,
    done_time bigint,
    UNIQUE (provider_name, event, recipient)
);

CREATE INDEX receipts_of_messages ON receipts (message_id);
CREATE INDEX receipts_done ON receipts (done_time) WHERE done_time IS NOT NULL;
CREATE INDEX receipts_pending ON receipts (receipt) WHERE done_time IS NULL;

CREATE TABLE held_receipts (
    held bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_name text COLLATE "C" NOT NULL,
    event bytea NOT NULL,
    -- What the reference names; NULL where there is none.
    message_id uuid,
    attempt int NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    recipient_hash bytea NOT NULL,
    state text NOT NULL,
    code text NOT NULL,
    time bigint,
    permanent boolean NOT NULL,
    receive_time bigint NOT NULL,
    to_report boolean NOT NULL,
    UNIQUE (provider_name, event)
);

CREATE INDEX held_by_provider_message_id ON held_receipts (provider_name, provider_message_id);
CREATE INDEX held_by_message ON held_receipts (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX held_by_time ON held_receipts (receive_time);

CREATE TABLE inbound_events (
    provider_name text COLLATE "C" NOT NULL,
    event bytea NOT NULL,
    receive_time bigint NOT NULL,
    PRIMARY KEY (provider_name, event)
);

CREATE INDEX inbound_by_time ON inbound_events (receive_time);

CREATE TABLE suppressions (
    suppression bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    address_hash bytea NOT NULL,
    sender text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    source text NOT NULL,
    create_time bigint NOT NULL,
    expire_time bigint,
    key_id text COLLATE "C" NOT NULL,
    UNIQUE (tenant, address_hash, sender)
);

CREATE INDEX suppressions_by_time ON suppressions (tenant, create_time, suppression);
CREATE INDEX suppressions_by_expiry ON suppressions (expire_time) WHERE expire_time IS NOT NULL;

CREATE TABLE guard_counts (counter bytea PRIMARY KEY, steps bytea NOT NULL, gone_time bigint NOT NULL);

CREATE INDEX guard_counts_gone ON guard_counts (gone_time);

CREATE TABLE guard_clock (
    id int PRIMARY KEY CHECK (id = 1),
    latest bigint NOT NULL,
    shift bigint NOT NULL,
    machine text NOT NULL,
    machine_shift bigint NOT NULL
);

-- What operators have done to a provider. `change` rises with each of it, over all providers, in the order of commits.
CREATE TABLE provider_states (
    provider_name text COLLATE "C" PRIMARY KEY,
    drained boolean NOT NULL DEFAULT false,
    resets bigint NOT NULL DEFAULT 0,
    note text,
    change bigint NOT NULL
);

CREATE TABLE events (
    event bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time bigint NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    principal text NOT NULL,
    method text NOT NULL,
    target text NOT NULL,
    result text NOT NULL,
    reason text NOT NULL
);

CREATE INDEX events_in_order ON events (time, event);

CREATE TABLE lookup_key (id int PRIMARY KEY CHECK (id = 1), wrapped bytea NOT NULL);

CREATE TABLE encryption_keys (key_id text COLLATE "C" PRIMARY KEY, proof bytea NOT NULL);

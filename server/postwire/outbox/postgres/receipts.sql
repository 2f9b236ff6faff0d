-- What providers report. `{receipt}`, `{held}` and `{record}` stand for columns that `queries` lists.

-- Which messages, attempts and recipients are called by ids that providers gave.
-- name: provider_ids
SELECT i.provider_name, i.provider_message_id, i.message_id, i.attempt, i.recipient
FROM unnest($1::text[], $2::text[]) AS asked (of_provider, id)
JOIN provider_ids AS i ON i.provider_name = asked.of_provider AND i.provider_message_id = asked.id;

-- Messages that are about to get receipts, which nobody else changes from now on. In the order of ids, so that nobody
-- waits for who waits for him.
-- name: lock_reported
SELECT message_id, attempts, recipients FROM messages WHERE message_id = ANY ($1::uuid[])
ORDER BY message_id FOR NO KEY UPDATE;

-- What is kept of them besides; after they were locked, so that it is as the last one has left it. Receipts are counted up
-- to $2.
-- name: kept_of_reported
SELECT
    asked.id AS message_id,
    (SELECT hashes FROM recipients WHERE recipients.message_id = asked.id) AS hashes,
    (SELECT count(*) FROM (SELECT 1 FROM receipts WHERE receipts.message_id = asked.id LIMIT $2) AS counted) AS count
FROM unnest($1::uuid[]) AS asked (id);

-- In the order in which they came. An event that is there already leaves its row out. What is kept is counted in its
-- message: see `advance`.
-- name: insert_receipts
WITH ins AS (
    INSERT INTO receipts (
        provider_name, event, message_id, attempt, recipient, state, code, part, time, permanent, receive_time, to_report
    )
    SELECT
        provider_name, event, message_id, attempt, recipient, state, code, part, time, permanent, receive_time, to_report
    FROM unnest(
        $1::text[], $2::bytea[], $3::uuid[], $4::int4[], $5::int4[], $6::text[], $7::text[], $8::text[], $9::int8[],
        $10::boolean[], $11::int8[], $12::boolean[]
    ) WITH ORDINALITY AS new (
        provider_name, event, message_id, attempt, recipient, state, code, part, time, permanent, receive_time,
        to_report, place
    )
    ORDER BY place
    ON CONFLICT (provider_name, event, recipient) DO NOTHING
    RETURNING provider_name, event, recipient, message_id
), counted AS (
    UPDATE messages AS m SET unapplied = m.unapplied + new.count
    FROM (SELECT message_id, count(*) AS count FROM ins GROUP BY message_id) AS new
    WHERE m.message_id = new.message_id
)
SELECT provider_name, event, recipient FROM ins;

-- name: hold_receipts
INSERT INTO held_receipts (
    provider_name, event, message_id, attempt, provider_message_id, recipient_hash, state, code, time, permanent,
    receive_time, to_report
)
SELECT
    provider_name, event, message_id, attempt, provider_message_id, recipient_hash, state, code, time, permanent,
    receive_time, to_report
FROM unnest(
    $1::text[], $2::bytea[], $3::uuid[], $4::int4[], $5::text[], $6::bytea[], $7::text[], $8::text[], $9::int8[],
    $10::boolean[], $11::int8[], $12::boolean[]
) WITH ORDINALITY AS new (
    provider_name, event, message_id, attempt, provider_message_id, recipient_hash, state, code, time, permanent,
    receive_time, to_report, place
)
ORDER BY place
ON CONFLICT (provider_name, event) DO NOTHING
RETURNING provider_name, event;

-- name: held_counts
SELECT provider_name, count(*) AS count FROM held_receipts GROUP BY provider_name;

-- name: drop_oldest_held
DELETE FROM held_receipts WHERE held IN (
    SELECT held FROM held_receipts WHERE provider_name = $1 ORDER BY held LIMIT $2
);

-- name: held_keys
SELECT provider_name, provider_message_id, message_id FROM held_receipts ORDER BY held;

-- What is held under ids that providers gave, and under ids of messages, where that is known by now.
-- name: held_under
SELECT {held} FROM held_receipts AS h
WHERE h.held IN (
    SELECT held FROM held_receipts JOIN unnest($1::text[], $2::text[]) AS asked (of_provider, id)
        ON provider_name = asked.of_provider AND provider_message_id = asked.id
    UNION
    SELECT held FROM held_receipts WHERE message_id = ANY ($3::uuid[])
) AND (
    EXISTS (
        SELECT FROM provider_ids AS i
        WHERE i.provider_name = h.provider_name AND i.provider_message_id = h.provider_message_id
    )
    OR EXISTS (SELECT FROM messages AS m WHERE m.message_id = h.message_id)
)
ORDER BY h.held;

-- name: drop_held
DELETE FROM held_receipts WHERE held = ANY ($1::int8[]) RETURNING held;

-- name: drop_held_before
DELETE FROM held_receipts WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM held_receipts WHERE receive_time < $1 ORDER BY receive_time LIMIT $2 FOR UPDATE SKIP LOCKED)
)
RETURNING provider_name;

-- Those with which something is left to be done.
-- name: pending_receipts
SELECT receipt, message_id FROM receipts WHERE done_time IS NULL AND receipt > $1 ORDER BY receipt LIMIT $2;

-- name: reported_messages
SELECT {record}, whom.hashes, whom.sender
FROM messages AS m LEFT JOIN recipients AS whom ON whom.message_id = m.message_id
WHERE m.message_id = ANY ($1::uuid[]);

-- name: receipts_of
SELECT r.message_id, {receipt} FROM receipts AS r WHERE r.message_id = ANY ($1::uuid[]) ORDER BY r.message_id, r.receipt;

-- Messages whose receipts are about to be applied without a change of theirs.
-- name: lock_unapplied
SELECT 1 FROM messages
WHERE message_id IN (SELECT message_id FROM receipts WHERE receipt = ANY ($1::int8[]) AND NOT applied)
ORDER BY message_id FOR NO KEY UPDATE;

-- name: finish_receipts
WITH left_over AS (
    SELECT receipt, message_id, applied FROM receipts WHERE receipt = ANY ($1::int8[]) AND done_time IS NULL
    ORDER BY receipt FOR NO KEY UPDATE
), counted AS (
    UPDATE messages AS m SET unapplied = m.unapplied - done.count
    FROM (SELECT message_id, count(*) AS count FROM left_over WHERE NOT applied GROUP BY message_id) AS done
    WHERE m.message_id = done.message_id
)
UPDATE receipts SET applied = true, done_time = $2::int8 WHERE receipt = ANY (ARRAY(SELECT receipt FROM left_over));

-- name: remove_done_receipts
DELETE FROM receipts WHERE ctid = ANY (
    ARRAY(
        SELECT ctid FROM receipts WHERE done_time IS NOT NULL AND done_time < $1
        ORDER BY done_time LIMIT $2 FOR UPDATE SKIP LOCKED
    )
)
RETURNING 1;

-- name: inbound_event
SELECT 1 FROM inbound_events WHERE provider_name = $1 AND event = $2;

-- name: keep_inbound_event
INSERT INTO inbound_events (provider_name, event, receive_time) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: remove_inbound_events
DELETE FROM inbound_events WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM inbound_events WHERE receive_time < $1 ORDER BY receive_time LIMIT $2 FOR UPDATE SKIP LOCKED)
)
RETURNING 1;

-- Hashes of recipients, in small steps: those of the next messages behind one, of which some were settled before a time.
-- How far they reach, and when the first of them was accepted. It goes by those there are, which are none where no
-- receipts are taken.
-- name: erase_hashes
WITH seen AS MATERIALIZED (
    SELECT whom.message_id, m.create_time, m.update_time, m.state
    FROM recipients AS whom JOIN messages AS m ON m.message_id = whom.message_id
    WHERE whom.message_id > $1 ORDER BY whom.message_id LIMIT $3
), erased AS (
    DELETE FROM recipients WHERE message_id = ANY (
        ARRAY(SELECT message_id FROM seen WHERE update_time < $2 AND state NOT IN ('queued', 'sending'))
    )
)
SELECT message_id, create_time FROM seen ORDER BY message_id;

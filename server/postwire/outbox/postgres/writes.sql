-- What is written of messages: each statement does any number of them, which come as arrays of their columns. `{record}`
-- and `{work}` stand for columns that `queries` lists. An array `$n::text::int8[]` comes as text: see `rows.packed`.

-- Has everything that was committed before be where a commit has to be.
-- name: mark
SELECT pg_logical_emit_message(true, 'postwire', '');

-- Whether a session of this role has waited for a standby for longer (s) than a commit takes. Each that was cut waits on.
-- name: stuck
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE usename = session_user
        AND wait_event = 'SyncRep'
        AND query_start < clock_timestamp() - $1::float8 * interval '1 second'
);

-- name: is_dead
SELECT dead FROM nodes WHERE node = $1;

-- A request id that is taken leaves its row out; so does one of whose recipients anybody may be suppressed, which is said.
-- Sorted, so that two nodes cannot wait for each other.
-- name: accept
WITH src AS MATERIALIZED (
    SELECT * FROM unnest(
        $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text::int2[], $9::text[], $10::text[],
        $11::text::int4[], $12::text::boolean[], $13::text[], $14::text::int8[], $15::text::int8[], $16::text::int8[], $17::text::int8[], $18::text::int8[],
        $19::text::int8[], $20::text::int4[], $21::text[], $22::text::int4[], $23::text[], $24::text[], $25::text[], $26::text[],
        $27::json[], $28::text::boolean[], $29::bytea[], $30::bytea[], $31::text[]
    ) AS t (
        message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
        pinned_provider_name, max_attempts, ignore_suppression, accept_trace, send_time, create_time, update_time,
        expire_time, deadline, next_attempt_time, revision, queue, attempt_number, provider_name, error_code, attempts,
        recipients, labels, scheduled, content, hashes, sender
    )
), suppressed AS MATERIALIZED (
    SELECT DISTINCT asked.message_id FROM unnest($32::uuid[], $33::text[], $34::bytea[]) AS asked (message_id, tenant, address_hash)
    JOIN suppressions s ON s.tenant = asked.tenant AND s.address_hash = asked.address_hash
), ins AS (
    INSERT INTO messages (
        message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
        pinned_provider_name, max_attempts, ignore_suppression, accept_trace, send_time, create_time, update_time,
        expire_time, deadline, next_attempt_time, revision, queue, attempt_number, provider_name, error_code, attempts,
        recipients, labels
    )
    SELECT
        message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
        pinned_provider_name, max_attempts, ignore_suppression, accept_trace, send_time, create_time, update_time,
        expire_time, deadline, next_attempt_time, revision, queue, attempt_number, provider_name, error_code, attempts,
        recipients, labels
    FROM src
    WHERE (SELECT NOT dead FROM nodes WHERE node = $1)
        AND message_id NOT IN (SELECT message_id FROM suppressed)
    ORDER BY tenant, request_id
    ON CONFLICT (tenant, request_id) DO NOTHING
    RETURNING message_id, tenant, state, revision
), kept AS (
    -- `IS TRUE` has the ids looked up in a hash. As a join of two parts of a statement, of which nothing is known, each
    -- would be compared with each.
    INSERT INTO contents (message_id, content)
    SELECT message_id, content FROM src WHERE content <> '' AND (message_id IN (SELECT message_id FROM ins)) IS TRUE
), addressed AS (
    INSERT INTO recipients (message_id, hashes, sender)
    SELECT message_id, hashes, sender FROM src
    WHERE hashes IS NOT NULL AND (message_id IN (SELECT message_id FROM ins)) IS TRUE
), queued AS (
    INSERT INTO waiting (message_id, tenant, queue, priority, scheduled, next_attempt_time, expire_time, deadline)
    SELECT message_id, tenant, queue, priority, scheduled, next_attempt_time, expire_time, deadline FROM src
    WHERE state = 'queued' AND (message_id IN (SELECT message_id FROM ins)) IS TRUE
), opened AS (
    INSERT INTO flying (message_id, node) SELECT message_id, $1::int8 FROM ins WHERE state = 'sending'
), noted AS (
    INSERT INTO changes (tenant, message_id, revision) SELECT tenant, message_id, revision FROM ins
)
SELECT message_id, true AS inserted FROM ins UNION ALL SELECT message_id, false FROM suppressed;

-- Messages that have one of some request ids. By itself, so that it sees what `accept` came too late for; and with a mark,
-- so that nothing is told of what may still be lost.
-- name: find_repeated
WITH marked AS MATERIALIZED (SELECT pg_logical_emit_message(true, 'postwire', ''))
SELECT {record}
FROM marked
CROSS JOIN unnest($1::text[], $2::text[]) AS asked (tenant, request_id)
JOIN messages m ON m.tenant = asked.tenant AND m.request_id = asked.request_id;

-- Changes of records. Each applies only to the revision that it was made from: that is the fence against results that come
-- too late, and against two who change one message at once; and none that opens an attempt applies past a receipt.
-- part: changed
src AS MATERIALIZED (
    SELECT * FROM unnest(
        $2::uuid[], $3::text[], $4::text::int4[], $5::text[], $6::text::int8[], $7::text::int8[], $8::text::int8[], $9::text::int4[], $10::text::int4[],
        $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text::boolean[], $18::text::boolean[],
        $19::text::boolean[], $20::text::int4[], $21::text::boolean[]
    ) AS t (
        message_id, tenant, from_revision, state, update_time, next_attempt_time, follow_up_time, revision,
        attempt_number, provider_name, error_code, attempts, recipients, note, receipts, scheduled, opens, is_open,
        applied, erases
    )
), locked AS (
    -- In the order in which they come, which is that of ids, so that nobody waits for who waits for him; and one after the
    -- other, whatever the planner takes to be best.
    SELECT one.message_id FROM src CROSS JOIN LATERAL (
        SELECT m.message_id FROM messages m WHERE m.message_id = src.message_id OFFSET 0 FOR NO KEY UPDATE
    ) AS one
), upd AS (
    UPDATE messages m
    SET state = src.state,
        update_time = src.update_time,
        next_attempt_time = src.next_attempt_time,
        follow_up_time = src.follow_up_time,
        revision = src.revision,
        attempt_number = src.attempt_number,
        provider_name = src.provider_name,
        error_code = src.error_code,
        attempts = src.attempts,
        recipients = src.recipients,
        note = coalesce(src.note, m.note),
        receipts = src.receipts,
        unapplied = greatest(m.unapplied - src.applied, 0)
    FROM src
    WHERE m.message_id = src.message_id
        AND (src.message_id IN (SELECT message_id FROM locked)) IS TRUE -- all of them before the first
        AND m.tenant = src.tenant
        AND m.revision = src.from_revision
        AND (NOT src.opens OR m.unapplied <= src.applied)
        AND (SELECT NOT dead FROM nodes WHERE node = $1)
    RETURNING
        m.message_id, m.tenant, m.state, m.queue, m.priority, m.next_attempt_time, m.expire_time, m.deadline, m.revision,
        m.follow_up_time, src.scheduled, src.is_open, src.erases
), unqueued AS (
    DELETE FROM waiting w USING upd WHERE w.message_id = upd.message_id AND upd.state <> 'queued'
), queued AS (
    INSERT INTO waiting (message_id, tenant, queue, priority, scheduled, next_attempt_time, expire_time, deadline)
    SELECT message_id, tenant, queue, priority, scheduled, next_attempt_time, expire_time, deadline
    FROM upd WHERE state = 'queued'
    ON CONFLICT (message_id) DO UPDATE
    SET queue = excluded.queue, scheduled = excluded.scheduled, next_attempt_time = excluded.next_attempt_time
), closed AS (
    DELETE FROM flying f USING upd WHERE f.message_id = upd.message_id AND NOT upd.is_open
), opened AS (
    INSERT INTO flying (message_id, node) SELECT message_id, $1::int8 FROM upd WHERE is_open
    ON CONFLICT (message_id) DO UPDATE SET node = excluded.node
), unfollowed AS (
    DELETE FROM follow_ups f USING upd
    WHERE f.message_id = upd.message_id AND (upd.follow_up_time IS NULL OR upd.is_open)
), followed AS (
    INSERT INTO follow_ups (message_id, follow_up_time)
    SELECT message_id, follow_up_time FROM upd WHERE follow_up_time IS NOT NULL AND NOT is_open
    ON CONFLICT (message_id) DO UPDATE SET follow_up_time = excluded.follow_up_time
), erased AS (
    DELETE FROM contents c USING upd WHERE c.message_id = upd.message_id AND upd.erases
), noted AS (
    INSERT INTO changes (tenant, message_id, revision) SELECT tenant, message_id, revision FROM upd
)

-- name: advance
WITH {changed}
SELECT message_id FROM upd;

-- Those of some messages that somebody else has locked. Nobody is waited for.
-- name: locked_by_others
WITH free AS MATERIALIZED (
    SELECT message_id FROM messages WHERE message_id = ANY($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT message_id FROM messages
WHERE message_id = ANY($1::uuid[]) AND (message_id IN (SELECT message_id FROM free)) IS NOT TRUE;

-- For who counts what is to change with them, in the order in which all who lock several do it.
-- name: lock_changed
SELECT 1 FROM messages WHERE message_id = ANY($1::uuid[]) ORDER BY message_id FOR NO KEY UPDATE;

-- How many of some receipts are not applied, by messages.
-- name: count_unapplied
SELECT message_id, count(*) FROM receipts WHERE receipt = ANY($1::int8[]) AND NOT applied GROUP BY message_id;

-- With what comes with changes: the receipts that they apply, of which those are done with that nobody is to hear of; what
-- a provider gave as ids; and who has made them.
-- name: advance_reported
WITH {changed}, seen AS (
    UPDATE receipts r SET applied = true, done_time = CASE WHEN r.to_report THEN NULL ELSE seen.time END
    FROM unnest($22::uuid[], $23::int8[], $24::int8[]) AS seen (message_id, receipt, time) JOIN upd USING (message_id)
    WHERE r.receipt = seen.receipt
), given AS (
    INSERT INTO provider_ids (provider_name, provider_message_id, message_id, attempt, recipient)
    SELECT given.provider_name, given.provider_message_id, given.message_id, given.attempt, given.recipient
    FROM unnest($25::uuid[], $26::text[], $27::text[], $28::int4[], $29::int4[])
        AS given (message_id, provider_name, provider_message_id, attempt, recipient)
    JOIN upd USING (message_id)
    ORDER BY given.provider_name, given.provider_message_id
    ON CONFLICT (provider_name, provider_message_id) DO UPDATE
    SET message_id = excluded.message_id, attempt = excluded.attempt, recipient = excluded.recipient
), done AS (
    INSERT INTO events (time, tenant, principal, method, target, result, reason)
    SELECT done.time, done.tenant, done.principal, done.method, done.target, done.result, done.reason
    FROM unnest($30::uuid[], $31::int8[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[], $37::text[])
        AS done (message_id, time, tenant, principal, method, target, result, reason)
    JOIN upd USING (message_id)
)
SELECT message_id FROM upd;

-- name: message_by_id
SELECT {record} FROM messages m WHERE m.message_id = $1 AND m.tenant = $2;

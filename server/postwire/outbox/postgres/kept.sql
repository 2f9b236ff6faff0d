-- What is there beside messages.

-- name: fact
SELECT value FROM facts WHERE name = $1;

-- name: keep_fact
INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- See `locks`.
-- name: lock
SELECT pg_advisory_xact_lock($1::int4, $2::int4);

-- NULL leaves what is there. One at a time, so that `change` rises in the order of commits: who has seen one has seen those
-- before it.
-- name: keep_provider_state
INSERT INTO provider_states (provider_name, drained, resets, note, change)
VALUES (
    $1, coalesce($2::boolean, false), $3::int8, $4::text, (SELECT coalesce(max(change), 0) + 1 FROM provider_states)
)
ON CONFLICT (provider_name) DO UPDATE
SET drained = coalesce($2::boolean, provider_states.drained),
    resets = provider_states.resets + $3::int8,
    note = coalesce(excluded.note, provider_states.note),
    change = excluded.change;

-- name: provider_states
SELECT provider_name, drained, resets, note, change FROM provider_states;

-- name: insert_events
INSERT INTO events (time, tenant, principal, method, target, result, reason)
SELECT * FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]);

-- Where the stretch of events ends that one page looks at, which are at most $4.
-- name: events_end
SELECT time, event FROM events
WHERE time >= $1::int8 AND time <= $2::int8 AND (time, event) < ($2::int8, $3::int8)
ORDER BY time DESC, event DESC LIMIT 1 OFFSET $4::int8 - 1;

-- A NULL does not narrow the choice.
-- name: list_events
SELECT time, event, tenant, principal, method, target, result, reason FROM events
WHERE time >= $1::int8 AND time <= $2::int8 AND (time, event) < ($2::int8, $3::int8)
    AND (time, event) >= ($4::int8, $5::int8)
    AND ($6::text IS NULL OR tenant = $6)
    AND ($7::text IS NULL OR method = $7)
ORDER BY time DESC, event DESC LIMIT $8;

-- name: remove_events
DELETE FROM events WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM events WHERE time < $1 ORDER BY time LIMIT $2 FOR UPDATE SKIP LOCKED)
)
RETURNING 1;

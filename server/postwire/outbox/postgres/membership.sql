-- Who serves the store. All times are those of the database's own clock: see `core.leases`, which says the same as these
-- statements and is held to them.

-- One at a time, so that numbers come to be seen in their order: who has seen one has seen all that are lower.
-- name: join
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(1886352245)
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM turn
)
INSERT INTO nodes (name, version, lease, lease_until, lease_since)
SELECT $1, $2, $3::interval, clock.now + $3::interval, clock.now FROM clock
RETURNING node;

-- Renews the lease of a node, and returns who lives; the node's own row comes first, and none where it is dead. It has
-- held its lease without a gap where this heartbeat comes soon enough after the last, by a clock that was not set.
-- name: heartbeat
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), me AS (
    UPDATE nodes n
    SET lease_since = CASE
            WHEN clock.now BETWEEN n.lease_until - n.lease AND n.lease_until - n.lease + $2::interval
                AND n.lease_since <= clock.now
            THEN n.lease_since ELSE clock.now
        END,
        lease_until = clock.now + n.lease,
        queues = $3, config_digest = $4, clock_offset = $5, seen = $6, acknowledged = $7, shares = $8
    FROM clock
    WHERE n.node = $1 AND NOT n.dead
    RETURNING n.*, clock.now
), living AS (
    SELECT *, true AS is_me, now - lease_since >= lease AS may_reap FROM me
    UNION ALL
    SELECT n.*, clock.now, false, false
    FROM nodes n, clock
    WHERE n.node <> $1 AND NOT n.dead AND n.lease_until >= clock.now AND EXISTS (SELECT FROM me)
)
SELECT
    {member}, is_me, may_reap,
    (extract(epoch FROM now) * 1000000)::int8 AS now,
    (SELECT coalesce(max(change), 0) FROM provider_states) AS provider_change,
    (SELECT value FROM facts WHERE name = 'unsettled') AS unsettled,
    ARRAY(SELECT key_id FROM encryption_keys) AS key_ids,
    EXISTS (SELECT FROM facts WHERE name = 'encrypted') AS is_encrypted,
    (SELECT array_agg(node) FROM nodes WHERE NOT dead) AS not_dead
FROM living AS n
ORDER BY is_me DESC, node;

-- name: members
SELECT {member} FROM nodes n WHERE NOT dead AND lease_until >= clock_timestamp() ORDER BY node;

-- Marks those dead whose lease has run out, or could not be so long: the clock was set back. Only who has held his own for
-- a whole term may do so: after an outage everybody else has had time enough by then. And only where the clock shows what
-- he expects, give or take a little: else it was set just now. What nobody remembers goes.
-- name: reap
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), forgotten AS (
    DELETE FROM nodes n USING clock
    WHERE n.dead AND n.lease_until < clock.now - interval '7 days'
        AND NOT EXISTS (SELECT FROM flying f WHERE f.node = n.node)
)
UPDATE nodes n
SET dead = true
FROM clock
WHERE NOT n.dead
    AND n.node <> $1
    AND (n.lease_until < clock.now OR n.lease_until > clock.now + n.lease + 2 * $3::interval)
    AND clock.now BETWEEN $2::timestamptz - $3::interval AND $2::timestamptz + $3::interval
    AND EXISTS (
        SELECT FROM nodes me
        WHERE me.node = $1 AND NOT me.dead AND me.lease_until >= clock.now AND clock.now - me.lease_since >= me.lease
    )
RETURNING n.node;

-- Attempts that are open in the name of a node, but for those that it carries.
-- name: strays
SELECT {work}, c.content
FROM flying f
JOIN messages m USING (message_id)
LEFT JOIN contents c USING (message_id)
WHERE f.node = $1 AND f.message_id NOT IN (SELECT unnest($2::uuid[]))
ORDER BY f.message_id
LIMIT $3;

-- name: keep_unsettled
INSERT INTO facts (name, value)
VALUES ('unsettled', $1::int8 || ' ' || (extract(epoch FROM clock_timestamp()) * 1000000)::int8)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: leave
UPDATE nodes SET dead = true WHERE node = $1;

-- What waits, what is due, and what was left in the middle. Each of the small tables has a row only while there is
-- something to be done; what is to be known of it is in `messages`.

-- What is due and waits, for each priority and each of the two clocks that was asked for: longest due first. Whoever else is
-- about one of them has it, and it is passed over. Conditions are repeated on the row that is locked: where somebody has
-- changed it since the statement began, it is looked at as it is now, and no other is.
-- name: due
SELECT
    asked.scheduled AS by_wall_clock,
    coalesce((SELECT octet_length(content) FROM contents c WHERE c.message_id = m.message_id), 0) AS size,
    {work}
FROM unnest($3::int2[], $4::boolean[], $5::int8[], $6::int8[]) WITH ORDINALITY
    AS asked (priority, scheduled, until, room, position)
CROSS JOIN LATERAL (
    SELECT m.*
    FROM waiting w JOIN messages m USING (message_id)
    WHERE w.queue = $1 AND w.tenant = $2 AND w.priority = asked.priority AND w.scheduled = asked.scheduled
        AND w.next_attempt_time <= asked.until
        AND m.state = 'queued' AND m.queue = $1 AND m.tenant = $2 AND m.next_attempt_time <= asked.until
    ORDER BY w.next_attempt_time
    LIMIT asked.room
    FOR NO KEY UPDATE OF m SKIP LOCKED
) AS m
ORDER BY asked.position;

-- name: contents_of
SELECT message_id, content FROM contents WHERE message_id = ANY ($1::uuid[]);

-- The queues that anything waits in: from each to the next, past all that lies between.
-- name: queues
WITH RECURSIVE found AS (
    (SELECT queue, tenant FROM waiting ORDER BY queue, tenant LIMIT 1)
    UNION ALL
    SELECT next.queue, next.tenant
    FROM found CROSS JOIN LATERAL (
        SELECT w.queue, w.tenant FROM waiting w
        WHERE (w.queue, w.tenant) > (found.queue, found.tenant)
        ORDER BY w.queue, w.tenant LIMIT 1
    ) AS next
)
SELECT queue, tenant FROM found;

-- What waits in each queue, with each priority and by each of the two clocks: how much is due, and when the next is.
-- name: heads
SELECT asked.queue, asked.tenant, of.priority, of.scheduled, due.count, next.time
FROM unnest($1::text[], $2::text[]) AS asked (queue, tenant)
CROSS JOIN unnest($3::int2[], $4::boolean[], $5::int8[]) AS of (priority, scheduled, until)
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM (
        SELECT 1 FROM waiting w
        WHERE w.queue = asked.queue AND w.tenant = asked.tenant AND w.priority = of.priority
            AND w.scheduled = of.scheduled AND w.next_attempt_time <= of.until
        LIMIT $6
    ) AS counted
) AS due
CROSS JOIN LATERAL (
    SELECT min(w.next_attempt_time) AS time FROM waiting w
    WHERE w.queue = asked.queue AND w.tenant = asked.tenant AND w.priority = of.priority
        AND w.scheduled = of.scheduled AND w.next_attempt_time > of.until
) AS next
WHERE due.count > 0 OR next.time IS NOT NULL;

-- The same of all queues that anything waits in: from each, with one priority and by one clock, to the next, past all that
-- lies between; so nothing is looked for that is not there.
-- name: all_heads
WITH RECURSIVE found AS (
    (
        SELECT queue, tenant, priority, scheduled FROM waiting
        ORDER BY queue, tenant, priority, scheduled LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.tenant, next.priority, next.scheduled
    FROM found CROSS JOIN LATERAL (
        SELECT w.queue, w.tenant, w.priority, w.scheduled FROM waiting w
        WHERE (w.queue, w.tenant, w.priority, w.scheduled)
            > (found.queue, found.tenant, found.priority, found.scheduled)
        ORDER BY w.queue, w.tenant, w.priority, w.scheduled LIMIT 1
    ) AS next
)
SELECT found.queue, found.tenant, found.priority, found.scheduled, due.count, next.time
FROM found
CROSS JOIN LATERAL (SELECT CASE WHEN found.scheduled THEN $2::int8 ELSE $1::int8 END AS time) AS until
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM (
        SELECT 1 FROM waiting w
        WHERE w.queue = found.queue AND w.tenant = found.tenant AND w.priority = found.priority
            AND w.scheduled = found.scheduled AND w.next_attempt_time <= until.time
        LIMIT $3
    ) AS counted
) AS due
CROSS JOIN LATERAL (
    SELECT min(w.next_attempt_time) AS time FROM waiting w
    WHERE w.queue = found.queue AND w.tenant = found.tenant AND w.priority = found.priority
        AND w.scheduled = found.scheduled AND w.next_attempt_time > until.time
) AS next
WHERE due.count > 0 OR next.time IS NOT NULL;

-- By the wall clock where the caller has said when, by the due clock where it was left to us.
-- name: expired
SELECT {record} FROM (
    (SELECT message_id FROM waiting WHERE deadline IS NULL AND expire_time <= $1 ORDER BY expire_time LIMIT $3)
    UNION ALL
    (SELECT message_id FROM waiting WHERE deadline <= $2 ORDER BY deadline LIMIT $3)
) AS late
JOIN messages m USING (message_id);

-- name: next_expiry
SELECT
    (SELECT min(expire_time) FROM waiting WHERE deadline IS NULL) AS expire_time,
    (SELECT min(deadline) FROM waiting WHERE deadline IS NOT NULL) AS deadline;

-- Open attempts of nodes that are dead, or of none. Asked anew each time, so that none is left over whose node was marked
-- dead while it wrote.
-- name: orphans
SELECT {work}
FROM flying f JOIN messages m USING (message_id)
WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.node = f.node AND NOT n.dead)
ORDER BY m.state <> 'sending', m.create_time, m.message_id
LIMIT $1;

-- Further attempts that are to come; while one is open there is no row.
-- name: overdue
SELECT {work}
FROM follow_ups f JOIN messages m USING (message_id)
WHERE f.follow_up_time <= $1
ORDER BY f.follow_up_time LIMIT $2;

-- name: next_follow_up
SELECT min(follow_up_time) AS time FROM follow_ups;

-- Fenced as a change is, but not a change: the revision stays, and nobody who watches hears of it.
-- name: put_off
WITH src AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::int4[], $5::int8[])
        AS t (message_id, tenant, from_revision, follow_up_time)
), locked AS (
    SELECT m.message_id FROM messages m JOIN src USING (message_id) ORDER BY m.message_id FOR NO KEY UPDATE OF m
), upd AS (
    UPDATE messages m SET follow_up_time = src.follow_up_time
    FROM src JOIN locked USING (message_id)
    WHERE m.message_id = src.message_id
        AND m.tenant = src.tenant
        AND m.revision = src.from_revision
        AND m.follow_up_time IS NOT NULL
        AND (SELECT NOT dead FROM nodes WHERE node = $1)
    RETURNING m.message_id, m.follow_up_time
), moved AS (
    UPDATE follow_ups f SET follow_up_time = upd.follow_up_time FROM upd WHERE f.message_id = upd.message_id
)
SELECT count(*) AS count FROM upd;

-- What waits, in the order of acceptance, behind an id; in some queues, or in all of them.
-- name: scan_queued
SELECT {work}
FROM waiting w JOIN messages m USING (message_id)
WHERE w.message_id > $1 AND ($2::text[] IS NULL OR w.queue = ANY ($2))
ORDER BY w.message_id LIMIT $3;

-- Fenced by the queue as well; no change either.
-- name: reassign
WITH src AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::int4[], $5::text[], $6::text[])
        AS t (message_id, tenant, from_revision, from_queue, queue)
), locked AS (
    SELECT m.message_id FROM messages m JOIN src USING (message_id) ORDER BY m.message_id FOR NO KEY UPDATE OF m
), upd AS (
    UPDATE messages m SET queue = src.queue
    FROM src JOIN locked USING (message_id)
    WHERE m.message_id = src.message_id
        AND m.tenant = src.tenant
        AND m.revision = src.from_revision
        AND m.queue = src.from_queue
        AND (SELECT NOT dead FROM nodes WHERE node = $1)
    RETURNING m.message_id, m.queue
), moved AS (
    UPDATE waiting w SET queue = upd.queue FROM upd WHERE w.message_id = upd.message_id
)
SELECT count(*) AS count FROM upd;

-- name: sizes_of
SELECT message_id, octet_length(content) AS size FROM contents WHERE message_id = ANY ($1::uuid[]);

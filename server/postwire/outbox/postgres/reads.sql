-- What is read of messages, for a tenant unless it says otherwise.

-- name: message_by_request_id
SELECT {record} FROM messages m WHERE m.tenant = $1 AND m.request_id = $2;

-- name: messages_of_requests
SELECT {record} FROM messages m WHERE m.tenant = $1 AND m.request_id = ANY ($2::text[]);

-- name: messages_by_ids
SELECT {record} FROM messages m WHERE m.message_id = ANY ($1::uuid[]) AND m.tenant = $2;

-- name: content_of
SELECT c.content FROM contents c JOIN messages m USING (message_id) WHERE m.message_id = $1 AND m.tenant = $2;

-- Where the stretch of messages ends that one page looks at: of the tenant's, so that the pages of one say nothing of how
-- many messages others have, and take no longer for them.
-- name: list_end
SELECT message_id FROM messages
WHERE tenant = $1 AND message_id < $2
ORDER BY message_id DESC LIMIT 1 OFFSET $3;

-- A NULL does not narrow the choice.
-- name: list_messages
SELECT {record} FROM messages m
WHERE m.tenant = $1
    AND m.message_id < $2
    AND m.message_id >= $3
    AND ($5::text[] IS NULL OR m.channel = ANY ($5))
    AND ($6::text[] IS NULL OR m.state = ANY ($6))
    -- Before the first attempt there is no provider, and none is called "".
    AND ($7::text[] IS NULL OR (m.attempt_number > 0 AND m.provider_name = ANY ($7)))
    AND ($8::jsonb IS NULL OR m.labels::jsonb @> $8)
    AND ($9::int8 IS NULL OR m.create_time >= $9)
    AND ($10::int8 IS NULL OR m.create_time < $10)
ORDER BY m.message_id DESC LIMIT $4;

-- What is not settled, of all tenants. Ids sort by acceptance, so the oldest is among the first, give or take a clock that
-- was set back.
-- name: stats
SELECT
    (SELECT count(*) FROM waiting)
        + (SELECT count(*) FROM flying f JOIN messages m USING (message_id) WHERE m.state = 'sending') AS unsettled,
    (
        SELECT min(m.create_time) FROM (
            (SELECT message_id FROM waiting ORDER BY message_id LIMIT 100)
            UNION ALL
            (SELECT message_id FROM flying ORDER BY message_id LIMIT 100)
        ) AS first JOIN messages m USING (message_id)
        WHERE m.state IN ('queued', 'sending')
    ) AS oldest;

-- What is due by `$1`, or by the wall clock by `$2`, since when the longest of it is, and how large all of the database is.
-- name: load
SELECT
    count(*) AS due,
    min(next_attempt_time - CASE WHEN scheduled THEN $2::int8 - $1::int8 ELSE 0 END) AS oldest,
    pg_database_size(current_database()) AS size
FROM waiting
WHERE next_attempt_time <= CASE WHEN scheduled THEN $2::int8 ELSE $1::int8 END;

-- By queue: what waits, and what is on its way.
-- name: unsettled_by_queue
SELECT tenant, queue, sum(count)::int8 AS count FROM (
    SELECT w.tenant, w.queue, count(*) AS count FROM waiting w GROUP BY w.tenant, w.queue
    UNION ALL
    SELECT m.tenant, m.queue, count(*) FROM flying f JOIN messages m USING (message_id)
    WHERE m.state = 'sending' GROUP BY m.tenant, m.queue
) AS counted
GROUP BY tenant, queue;

-- What waits for a time that its caller has given, by seconds (wall clock).
-- name: scheduled_by_second
SELECT tenant, next_attempt_time / 1000000 AS second, count(*) AS count
FROM waiting WHERE scheduled AND next_attempt_time > $1
GROUP BY tenant, second;

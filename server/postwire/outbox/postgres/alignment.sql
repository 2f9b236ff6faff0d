-- Bringing the times of what waits onto another due clock. On the clock of the database nothing of it is ever to be done,
-- unless that was set back.

-- name: keep_ahead
INSERT INTO facts (name, value) VALUES ('ahead', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: kept_ahead
SELECT value::int8 AS ahead FROM facts WHERE name = 'ahead' FOR UPDATE;

-- The due clock of this opening is ahead of that of the last one by `$1`.
-- name: shift_waiting
WITH locked AS (
    SELECT m.message_id FROM messages m JOIN waiting w USING (message_id) ORDER BY m.message_id FOR NO KEY UPDATE OF m
), moved AS (
    UPDATE waiting w
    SET next_attempt_time = w.next_attempt_time + CASE WHEN w.scheduled THEN 0 ELSE $1::int8 END, deadline = w.deadline + $1::int8
    FROM locked WHERE w.message_id = locked.message_id
    RETURNING w.message_id, w.next_attempt_time, w.deadline
)
UPDATE messages m SET next_attempt_time = moved.next_attempt_time, deadline = moved.deadline
FROM moved WHERE m.message_id = moved.message_id;

-- name: shift_open
WITH locked AS (
    SELECT m.message_id FROM messages m JOIN flying f USING (message_id) ORDER BY m.message_id FOR NO KEY UPDATE OF m
)
UPDATE messages m SET deadline = m.deadline + $1 FROM locked WHERE m.message_id = locked.message_id;

-- name: shift_follow_ups
WITH locked AS (
    SELECT m.message_id FROM messages m JOIN follow_ups f USING (message_id) ORDER BY m.message_id
    FOR NO KEY UPDATE OF m
), moved AS (
    UPDATE follow_ups f SET follow_up_time = f.follow_up_time + $1
    FROM locked WHERE f.message_id = locked.message_id
    RETURNING f.message_id, f.follow_up_time
)
UPDATE messages m SET follow_up_time = moved.follow_up_time, deadline = m.deadline + $1
FROM moved WHERE m.message_id = moved.message_id;

-- No backoff is as long as this: the clock was set back between two boots. What a provider has put off, for the message or
-- for somebody who is left, waits for longer than any backoff, but not beyond `$3`.
-- name: bound_waiting
WITH late AS (
    SELECT m.message_id, bound.time
    FROM waiting w JOIN messages m USING (message_id)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN m.attempts::jsonb -> -1 ->> 3 = 'deferred' OR EXISTS (
                SELECT 1 FROM jsonb_array_elements(m.recipients::jsonb) AS one
                WHERE one ->> 0 = 'queued' AND one ->> 1 = 'deferred'
            ) THEN $3::int8
            WHEN m.attempt_number = 0 THEN $1::int8
            ELSE least($2::int8, $3::int8)
        END AS time
    ) AS bound
    WHERE NOT w.scheduled AND w.next_attempt_time > least($1::int8, $2::int8, $3::int8)
        AND w.next_attempt_time > bound.time AND w.next_attempt_time > $1::int8
    ORDER BY m.message_id FOR NO KEY UPDATE OF m
), moved AS (
    UPDATE waiting w SET next_attempt_time = late.time FROM late WHERE w.message_id = late.message_id
)
UPDATE messages m SET next_attempt_time = late.time FROM late WHERE m.message_id = late.message_id;

-- name: bound_follow_ups
WITH late AS (
    SELECT m.message_id FROM messages m JOIN follow_ups f USING (message_id)
    WHERE f.follow_up_time > $1 ORDER BY m.message_id FOR NO KEY UPDATE OF m
), moved AS (
    UPDATE follow_ups f SET follow_up_time = $1 FROM late WHERE f.message_id = late.message_id
)
UPDATE messages m SET follow_up_time = $1 FROM late WHERE m.message_id = late.message_id;

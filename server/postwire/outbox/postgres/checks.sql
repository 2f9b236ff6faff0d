-- For `postwire store check`, which reads everything there is.

-- name: database_size
SELECT pg_database_size(current_database());

-- name: count_states
SELECT state, count(*) FROM messages GROUP BY state ORDER BY state;

-- name: count_attempts
SELECT coalesce(sum(json_array_length(attempts::json)), 0)::int8 FROM messages WHERE attempts IS NOT NULL;

-- By the id of the key that they are encrypted with; in clear, by none. See `outbox.cipher`.
-- name: count_keys
SELECT
    CASE WHEN substring(content FOR 1) = '\x02' AND octet_length(content) > 1
        THEN convert_from(substring(content FROM 3 FOR get_byte(content, 1)), 'LATIN1')
        ELSE ''
    END AS key_id,
    count(*)
FROM contents GROUP BY key_id ORDER BY key_id;

-- name: encrypted_contents
SELECT c.content, c.message_id, m.tenant FROM contents c JOIN messages m USING (message_id)
WHERE substring(c.content FOR 1) = '\x02';

-- name: drained
SELECT provider_name FROM provider_states WHERE drained ORDER BY provider_name;

-- name: fault_not_waiting
SELECT count(*) FROM messages m
WHERE m.state = 'queued' AND NOT EXISTS (
    SELECT 1 FROM waiting w
    WHERE w.message_id = m.message_id AND w.tenant = m.tenant AND w.queue = m.queue AND w.priority = m.priority
        AND w.next_attempt_time = m.next_attempt_time AND w.expire_time = m.expire_time
        AND w.deadline IS NOT DISTINCT FROM m.deadline
);

-- name: fault_waiting
SELECT count(*) FROM waiting w
WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.message_id = w.message_id AND m.state = 'queued');

-- name: fault_not_flying
SELECT count(*) FROM messages m
WHERE m.attempts IS NOT NULL AND m.attempts::json -> -1 ->> 3 IS NULL
    AND NOT EXISTS (SELECT 1 FROM flying f WHERE f.message_id = m.message_id);

-- name: fault_flying
SELECT count(*) FROM flying f
WHERE NOT EXISTS (
    SELECT 1 FROM messages m
    WHERE m.message_id = f.message_id AND m.attempts IS NOT NULL AND m.attempts::json -> -1 ->> 3 IS NULL
);

-- The time that stands for one whose attempt is open is `core.follow_up.UNDER_WAY`.
-- name: fault_not_followed
SELECT count(*) FROM messages m
WHERE m.follow_up_time <> 253402300799999999 AND NOT EXISTS (
    SELECT 1 FROM follow_ups f WHERE f.message_id = m.message_id AND f.follow_up_time = m.follow_up_time
);

-- name: fault_followed
SELECT count(*) FROM follow_ups f
WHERE NOT EXISTS (
    SELECT 1 FROM messages m WHERE m.message_id = f.message_id AND m.follow_up_time = f.follow_up_time
);

-- name: fault_unapplied
SELECT count(*) FROM messages m
WHERE m.unapplied <> (SELECT count(*) FROM receipts r WHERE r.message_id = m.message_id AND NOT r.applied);

-- name: fault_receipts_of_none
SELECT count(*) FROM receipts r WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.message_id = r.message_id);

-- name: fault_contents_of_none
SELECT count(*) FROM contents c WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.message_id = c.message_id);

-- name: fault_unknown_content
SELECT count(*) FROM contents WHERE substring(content FOR 1) NOT IN ('\x01', '\x02');

-- Once everything was encrypted, nothing is in clear.
-- name: fault_clear_content
SELECT count(*) FROM contents
WHERE substring(content FOR 1) = '\x01' AND EXISTS (SELECT 1 FROM facts WHERE name = 'encrypted');

-- Those that are settled, and have no further attempt to come, have none any more.
-- name: fault_no_content
SELECT count(*) FROM messages m
WHERE (m.state IN ('queued', 'sending') OR m.follow_up_time IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM contents c WHERE c.message_id = m.message_id);

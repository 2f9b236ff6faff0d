-- Every statement of the store. `{rows}` stands for as many rows of values as are written at once: one statement for a
-- whole batch, because each statement that runs gives up the interpreter lock and has to win it back. Rows of NULLs only
-- fill it up.

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- Around reads that belong together: one moment for all of them.
-- name: savepoint
SAVEPOINT reading;

-- name: release
RELEASE reading;

-- name: insert_boot
INSERT INTO boots (start_time) VALUES (?) RETURNING boot;

-- name: touch_marker
UPDATE marker SET value = value + 1 WHERE id = 1;

-- name: last_key
SELECT coalesce(max(key), 0) FROM messages;

-- A request id that is taken leaves its row out; the caller compares how many rows went in.
-- name: insert_messages
INSERT INTO messages (
    key, message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
    pinned_provider_name, max_attempts, send_time, create_time, update_time, expire_time, next_attempt_time,
    attempt_number, provider_name, recipients, labels, revision
) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (tenant, request_id) DO NOTHING;

-- name: insert_contents
INSERT INTO contents (key, content) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_attempts
INSERT INTO attempts (message_id, number, boot, provider_name, start_time, trace_id)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- The end of an attempt. It applies only where that attempt is still open.
-- name: close_attempts
WITH ended (message_id, number, outcome, duration, provider_message_id, error_code, detail) AS (VALUES {rows})
UPDATE attempts
SET outcome = ended.outcome,
    duration = ended.duration,
    provider_message_id = ended.provider_message_id,
    error_code = ended.error_code,
    detail = ended.detail
FROM ended
WHERE attempts.message_id = ended.message_id AND attempts.number = ended.number AND attempts.outcome IS NULL;

-- The record after an attempt's end. It applies only where that attempt is the latest, and was open until now.
-- name: update_messages
WITH changed (message_id, number, state, update_time, next_attempt_time, recipients, revision) AS (VALUES {rows})
UPDATE messages
SET state = changed.state,
    update_time = changed.update_time,
    next_attempt_time = changed.next_attempt_time,
    recipients = changed.recipients,
    revision = changed.revision
FROM changed
WHERE messages.message_id = changed.message_id
    AND messages.attempt_number = changed.number
    AND messages.state = 'sending';

-- name: message_by_id
SELECT
    key, message_id, request_id, payload_hash, channel, state, create_time, update_time, expire_time,
    next_attempt_time, recipients, labels, revision
FROM messages WHERE message_id = ?;

-- name: message_by_request_id
SELECT
    key, message_id, request_id, payload_hash, channel, state, create_time, update_time, expire_time,
    next_attempt_time, recipients, labels, revision
FROM messages WHERE tenant = ? AND request_id = ?;

-- Where the stretch of messages ends that one page looks at. Here and below, `+tenant` keeps the planner from the index
-- on request ids, which would have it sort every message of the tenant.
-- name: list_end
SELECT message_id FROM messages
WHERE +tenant = :tenant AND message_id < :after
ORDER BY message_id DESC LIMIT 1 OFFSET :scan - 1;

-- A NULL does not narrow the choice. Lists come as JSON.
-- name: list_messages
SELECT
    key, message_id, request_id, payload_hash, channel, state, create_time, update_time, expire_time,
    next_attempt_time, recipients, labels, revision
FROM messages
WHERE +tenant = :tenant
    AND message_id < :after
    AND message_id >= :end
    AND (:channels IS NULL OR channel IN (SELECT value FROM json_each(:channels)))
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:provider_names IS NULL OR provider_name IN (SELECT value FROM json_each(:provider_names)))
    AND (:create_time_from IS NULL OR create_time >= :create_time_from)
    AND (:create_time_to IS NULL OR create_time < :create_time_to)
    AND (:labels IS NULL OR NOT EXISTS (
        SELECT 1 FROM json_each(:labels) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM json_each(messages.labels) AS had
            WHERE had.key = wanted.key AND had.value = wanted.value
        )
    ))
ORDER BY message_id DESC LIMIT :size;

-- name: attempts_of_all
SELECT
    message_id, number, provider_name, start_time, outcome, duration, provider_message_id, error_code, detail, trace_id
FROM attempts WHERE message_id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY message_id, number;

-- name: attempts_of
SELECT number, provider_name, start_time, outcome, duration, provider_message_id, error_code, detail, trace_id
FROM attempts WHERE message_id = ? ORDER BY number;

-- name: stats
SELECT count(*), min(create_time) FROM messages WHERE state IN ('queued', 'sending');

-- name: content_of
SELECT content FROM contents WHERE key = (SELECT key FROM messages WHERE message_id = ?);

-- What goes through messages in the order of acceptance, a few at a time, and what operators have erased.

-- The next messages behind an id: which of them were settled before a time, how large the contents of those are, and when
-- each was accepted.
-- name: settled_step
SELECT
    m.message_id, m.create_time, goes.goes,
    CASE WHEN goes.goes THEN
        (SELECT octet_length(content) FROM contents c WHERE c.message_id = m.message_id)
    END AS size
FROM messages m
CROSS JOIN LATERAL (SELECT m.update_time < $3 AND m.state NOT IN ('queued', 'sending') AS goes) AS goes
WHERE m.message_id > $1
ORDER BY m.message_id LIMIT $2;

-- The same, of those that have a content; `$4` and `$5` are tenants and other times of theirs. What a further attempt may
-- need stays.
-- name: contents_step
SELECT
    m.message_id, m.create_time, octet_length(c.content) AS size,
    m.update_time < coalesce(($5::int8[])[array_position($4::text[], m.tenant)], $3)
        AND m.state NOT IN ('queued', 'sending') AND m.follow_up_time IS NULL AS goes
FROM contents c JOIN messages m USING (message_id)
WHERE c.message_id > $1
ORDER BY c.message_id LIMIT $2;

-- Those of some messages that were settled before a time. Locked first, in order, as by everybody who changes them; and by
-- itself, so that what is removed with them is what there is once they are: else a receipt stays that was being kept.
-- name: lock_settled
SELECT m.message_id FROM messages m
WHERE m.message_id = ANY ($1::uuid[]) AND m.update_time < $2 AND m.state NOT IN ('queued', 'sending')
ORDER BY m.message_id FOR UPDATE OF m;

-- With all that belongs to them.
-- name: remove_messages
WITH gone AS (
    SELECT unnest($1::uuid[]) AS message_id
), without_content AS (
    DELETE FROM contents c USING gone WHERE c.message_id = gone.message_id
), without_recipients AS (
    DELETE FROM recipients r USING gone WHERE r.message_id = gone.message_id
), without_receipts AS (
    DELETE FROM receipts r USING gone WHERE r.message_id = gone.message_id
), without_provider_ids AS (
    DELETE FROM provider_ids p USING gone WHERE p.message_id = gone.message_id
), without_follow_up AS (
    DELETE FROM follow_ups f USING gone WHERE f.message_id = gone.message_id
), without_attempt AS (
    DELETE FROM flying f USING gone WHERE f.message_id = gone.message_id
)
DELETE FROM messages m USING gone WHERE m.message_id = gone.message_id;

-- name: erase_settled
WITH settled AS (
    SELECT m.message_id FROM messages m
    WHERE m.message_id = ANY ($1::uuid[]) AND m.state NOT IN ('queued', 'sending') AND m.follow_up_time IS NULL
    ORDER BY m.message_id FOR NO KEY UPDATE OF m
)
DELETE FROM contents c USING settled WHERE c.message_id = settled.message_id;

-- Those of some messages that something can be erased of, and those that are not settled; `$3` is the follow-up time of one
-- whose further attempt is open.
-- name: erasable
SELECT
    m.message_id,
    m.state NOT IN ('queued', 'sending') AND m.follow_up_time IS DISTINCT FROM $3 AS settled,
    coalesce((SELECT octet_length(content) FROM contents c WHERE c.message_id = m.message_id), 0) AS size
FROM messages m
WHERE m.message_id = ANY ($1::uuid[]) AND m.tenant = $2
    AND (
        m.state IN ('queued', 'sending')
        OR m.labels IS NOT NULL
        OR EXISTS (SELECT 1 FROM contents c WHERE c.message_id = m.message_id)
        OR EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.message_id AND r.hashes <> '')
        OR m.follow_up_time IS NOT DISTINCT FROM $3
    )
ORDER BY m.message_id;

-- The same, of whom the rows are locked. By itself, so that what is erased is as it is once they are.
-- name: lock_messages_of
SELECT 1 FROM messages m WHERE m.message_id = ANY ($1::uuid[]) AND m.tenant = $2 ORDER BY m.message_id
FOR NO KEY UPDATE OF m;

-- What is left of them is their records. An event for each.
-- name: erase
WITH upd AS (
    UPDATE messages m SET revision = m.revision + 1, follow_up_time = NULL, labels = NULL
    WHERE m.message_id = ANY ($1::uuid[])
    RETURNING m.message_id, m.tenant, m.revision
), without_content AS (
    DELETE FROM contents c USING upd WHERE c.message_id = upd.message_id
), without_hashes AS (
    DELETE FROM recipients r USING upd WHERE r.message_id = upd.message_id
), without_follow_up AS (
    DELETE FROM follow_ups f USING upd WHERE f.message_id = upd.message_id
), noted AS (
    INSERT INTO changes (tenant, message_id, revision)
    SELECT tenant, message_id, revision FROM upd ORDER BY message_id
)
INSERT INTO events (time, tenant, principal, method, target, result, reason)
SELECT $2, $3, $4, $5, message_id::text, $6, $7 FROM upd ORDER BY message_id;

-- Keys that the store keeps itself, or may need; and encrypting what it holds anew.

-- name: encryption_keys
SELECT key_id, proof FROM encryption_keys;

-- name: add_encryption_key
INSERT INTO encryption_keys (key_id, proof) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING;

-- name: remove_other_encryption_keys
DELETE FROM encryption_keys WHERE key_id <> $1;

-- name: wrapped_lookup_key
SELECT wrapped FROM lookup_key;

-- name: keep_lookup_key
INSERT INTO lookup_key (id, wrapped) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET wrapped = excluded.wrapped;

-- name: keep_node_keys
UPDATE nodes SET keys = $2::text[], keys_xid = pg_current_xact_id() WHERE node = $1;

-- Other nodes that live and could not read what is encrypted with a key.
-- name: nodes_without_key
SELECT name FROM nodes
WHERE NOT dead AND lease_until > clock_timestamp() AND node <> $1 AND NOT $2 = ANY (keys)
ORDER BY node;

-- Nodes that live and encrypt with another key, or with none.
-- name: nodes_with_another_key
SELECT name FROM nodes
WHERE NOT dead AND lease_until > clock_timestamp() AND keys IS NOT NULL AND keys[1] IS DISTINCT FROM $1
ORDER BY node;

-- What everybody sees who begins to look now: the transactions before it are all over. And the last one in which a node
-- has begun to encrypt with another key.
-- name: rekey_marks
SELECT
    pg_snapshot_xmin(pg_current_snapshot())::text::int8 AS mark,
    coalesce((SELECT max(keys_xid::text::int8) FROM nodes), 0) AS keys_xid;

-- The next contents behind a message, how long they are, and whether they begin as what is encrypted now does.
-- name: contents_after
SELECT message_id, octet_length(content) AS length, substring(content FROM 1 FOR octet_length($3::bytea)) = $3 AS is_current
FROM contents WHERE message_id > $1 ORDER BY message_id LIMIT $2;

-- name: contents_with_owners
SELECT c.message_id, c.content, m.tenant FROM contents AS c JOIN messages AS m USING (message_id)
WHERE c.message_id = ANY ($1::uuid[]);

-- Those that nobody is about to erase. Not waited for: who does may wait for another of them.
-- name: lock_contents
SELECT message_id FROM contents WHERE message_id = ANY ($1::uuid[]) FOR UPDATE SKIP LOCKED;

-- name: replace_contents
UPDATE contents AS c SET content = new.content
FROM unnest($1::uuid[], $2::bytea[]) AS new (message_id, content)
WHERE c.message_id = new.message_id;

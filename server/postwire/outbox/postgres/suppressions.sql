-- Who must not be written to. `{suppression}` stands for columns that `queries` lists.

-- name: suppressions_of
SELECT {suppression} FROM unnest($1::text[], $2::bytea[]) AS asked (of_tenant, hash)
JOIN suppressions AS s ON s.tenant = asked.of_tenant AND s.address_hash = asked.hash;

-- One that has expired is as good as gone, so another one takes its place. With $9, others stay that expire later.
-- name: add_suppressions
INSERT INTO suppressions AS s (tenant, address_hash, sender, reason, source, create_time, expire_time, key_id)
SELECT tenant, address_hash, sender, reason, source, create_time, expire_time, key_id
FROM unnest(
    $1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::int8[], $8::text[]
) WITH ORDINALITY AS new (tenant, address_hash, sender, reason, source, create_time, expire_time, key_id, place)
ORDER BY place
ON CONFLICT (tenant, address_hash, sender) DO UPDATE
SET reason = excluded.reason,
    source = excluded.source,
    create_time = CASE WHEN s.expire_time <= excluded.create_time THEN excluded.create_time ELSE s.create_time END,
    expire_time = excluded.expire_time,
    key_id = excluded.key_id
WHERE NOT $9::boolean OR s.expire_time < coalesce(excluded.expire_time, 9223372036854775807);

-- name: remove_suppressions
DELETE FROM suppressions AS s
USING unnest($1::text[], $2::bytea[], $3::text[]) AS old (tenant, address_hash, sender)
WHERE s.tenant = old.tenant AND s.address_hash = old.address_hash AND s.sender = old.sender;

-- name: list_suppressions
SELECT s.suppression, {suppression} FROM suppressions AS s
WHERE s.tenant = $1 AND s.create_time <= $2::int8 AND (s.create_time, s.suppression) < ($2::int8, $3::int8)
ORDER BY s.create_time DESC, s.suppression DESC LIMIT $4;

-- name: remove_expired_suppressions
DELETE FROM suppressions WHERE ctid = ANY (
    ARRAY(
        SELECT ctid FROM suppressions WHERE expire_time IS NOT NULL AND expire_time <= $1
        ORDER BY expire_time LIMIT $2 FOR UPDATE SKIP LOCKED
    )
)
RETURNING 1;

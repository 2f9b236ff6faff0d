-- What has changed, in an order that those who watch go on in: by (xid, n), and never beyond the oldest transaction that
-- is under way, which may still add something before that. See docs/adr/0046.

-- A timeline is entered before anything is written on it: so whatever is written on it comes behind its start.
-- name: begin_timeline
INSERT INTO timelines (timeline, start)
SELECT now.timeline, pg_snapshot_xmax(pg_current_snapshot())
FROM (SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 AS timeline) AS now
WHERE NOT EXISTS (SELECT 1 FROM timelines AS there WHERE there.timeline = now.timeline)
ON CONFLICT (timeline) DO NOTHING;

-- name: system_identifier
SELECT system_identifier::text FROM pg_control_system();

-- What follows is of another server: its transactions have other numbers.
-- name: forget_changes
WITH forgotten AS (DELETE FROM changes),
    undone AS (DELETE FROM dropped),
    elsewhere AS (DELETE FROM timelines)
UPDATE feed SET floor_xid = '0', floor_n = 0 WHERE id = 1;

-- Where the changes begin that are known, where they end, and whether another position may be gone on from. One of an
-- earlier timeline may, unless it is behind where a later one began.
-- name: feed_ends
SELECT
    now.timeline,
    feed.floor_xid::text::int8 AS floor_xid,
    feed.floor_n,
    coalesce(last.xid, feed.floor_xid)::text::int8 AS xid,
    coalesce(last.n, feed.floor_n) AS n
FROM feed
CROSS JOIN (SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 AS timeline) AS now
LEFT JOIN LATERAL (
    SELECT xid, n FROM changes WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, n DESC LIMIT 1
) AS last ON true
WHERE feed.id = 1;

-- The same, with the changes behind a position, at one moment: always a row, of which the first columns are the same in
-- each. The record is there for the change that it stands at, if it is this tenant's.
-- name: changes_after
WITH seen AS MATERIALIZED (
    SELECT xid, n, message_id, revision FROM changes
    WHERE (xid, n) > ($2::text::xid8, $3::int8) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, n LIMIT $4
)
SELECT
    now.timeline,
    feed.floor_xid::text::int8 AS floor_xid,
    feed.floor_n,
    coalesce(last.xid, feed.floor_xid)::text::int8 AS last_xid,
    coalesce(last.n, feed.floor_n) AS last_n,
    $1::int8 = now.timeline
        OR EXISTS (SELECT 1 FROM timelines WHERE timeline = $1::int8)
        AND NOT EXISTS (
            SELECT 1 FROM timelines AS later WHERE later.timeline > $1::int8 AND later.start <= $2::text::xid8
        ) AS is_of_here,
    seen.xid::text::int8 AS xid,
    seen.n,
    seen.message_id AS changed,
    m.message_id IS NOT NULL
        OR EXISTS (SELECT 1 FROM messages AS there WHERE there.message_id = seen.message_id) AS is_there,
    {record}
FROM feed
CROSS JOIN (SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 AS timeline) AS now
LEFT JOIN LATERAL (
    SELECT xid, n FROM changes WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, n DESC LIMIT 1
) AS last ON true
LEFT JOIN seen ON true
LEFT JOIN LATERAL (
    SELECT * FROM messages AS at
    WHERE at.message_id = seen.message_id AND at.tenant = $5 AND at.revision = seen.revision
    LIMIT 1
) AS m ON true
WHERE feed.id = 1
ORDER BY seen.xid, seen.n;

-- How many changes were forgotten in all, and how many of them came before a position: all up to the step before it. Of
-- $3 steps it is known, so of an earlier position it is not.
-- name: dropped_behind
SELECT
    coalesce(max(total), 0) AS total,
    coalesce(
        max(total) FILTER (WHERE (xid, n) <= ($1::text::xid8, $2::int8)),
        CASE WHEN count(*) >= $3::int8 THEN min(total) ELSE 0 END
    ) AS before
FROM dropped;

-- One at a time: the floor is that of all.
-- name: lock_feed
SELECT 1 FROM feed WHERE id = 1 FOR NO KEY UPDATE;

-- Only such as everybody could have seen: what comes in before them could not be told any more.
-- name: remove_changes
WITH bound AS (
    SELECT xid, n FROM changes WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid DESC, n DESC OFFSET $1 LIMIT 1
), old AS MATERIALIZED (
    SELECT c.ctid AS place, c.xid, c.n FROM changes AS c
    WHERE (c.xid, c.n) <= (SELECT bound.xid, bound.n FROM bound) ORDER BY c.xid, c.n LIMIT $2
), last AS (
    SELECT xid, n FROM old ORDER BY xid DESC, n DESC LIMIT 1
), gone AS (
    DELETE FROM changes WHERE ctid = ANY (ARRAY(SELECT place FROM old))
), moved AS (
    UPDATE feed SET floor_xid = last.xid, floor_n = last.n FROM last WHERE feed.id = 1
), noted AS (
    INSERT INTO dropped (total, xid, n)
    SELECT coalesce((SELECT max(total) FROM dropped), 0) + (SELECT count(*) FROM old), last.xid, last.n FROM last
), unnoted AS (
    DELETE FROM dropped WHERE total <= (SELECT total FROM dropped ORDER BY total DESC OFFSET $3 LIMIT 1)
)
SELECT count(*) AS count FROM old;

-- The oldest transaction that is under way, where it holds up the feed; whose it is, and how long (seconds) it runs: of a
-- session, its process; of a prepared one, its name. Of others' sessions not everybody is told since when they run.
-- name: feed_lag
SELECT holding.*, pg_snapshot_xmin(pg_current_snapshot())::text AS xid FROM (
    SELECT extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change))::float8 AS lag, pid, NULL::text AS gid
    FROM pg_stat_activity
    WHERE backend_xid = pg_snapshot_xmin(pg_current_snapshot())::xid
    UNION ALL
    SELECT extract(epoch FROM clock_timestamp() - prepared)::float8, NULL, gid
    FROM pg_prepared_xacts
    WHERE transaction = pg_snapshot_xmin(pg_current_snapshot())::xid
) AS holding
LIMIT 1;

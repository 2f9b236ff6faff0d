-- What there is of indexes, and how one comes to be.

-- Of these names, those that there are. One is not valid while somebody makes it, or if he was interrupted.
-- name: indexes
SELECT c.relname AS name, i.indisvalid AND i.indisready AS valid
FROM pg_class c
JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relname = ANY($1::text[]) AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('facts'));

-- name: index_progress
SELECT blocks_done AS done, blocks_total AS total
FROM pg_stat_progress_create_index
WHERE datname = current_database() AND blocks_total > 0;

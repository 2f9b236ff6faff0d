-- Counts of guards.

-- Locks counts, and makes those that are not there. Sorted, so that two nodes cannot wait for each other; one statement
-- for both, since who would lock first and then make would not be.
-- name: lock_guard_counts
INSERT INTO guard_counts (counter, steps, gone_time)
SELECT counter, ''::bytea, 0 FROM unnest($1::bytea[]) AS asked (counter) ORDER BY counter
ON CONFLICT (counter) DO UPDATE SET gone_time = guard_counts.gone_time
RETURNING counter, steps;

-- Which of some request ids are taken.
-- name: known_request_ids
SELECT m.tenant, m.request_id FROM unnest($1::text[], $2::text[]) AS asked (tenant, request_id)
JOIN messages m ON m.tenant = asked.tenant AND m.request_id = asked.request_id;

-- name: keep_guard_counts
UPDATE guard_counts g SET steps = kept.steps, gone_time = kept.gone_time
FROM unnest($1::bytea[], $2::bytea[], $3::int8[]) AS kept (counter, steps, gone_time)
WHERE g.counter = kept.counter;

-- name: guard_clock
SELECT latest, shift, machine, machine_shift FROM guard_clock WHERE id = 1;

-- For who is about to change more of it than its time.
-- name: lock_guard_clock
SELECT 1 FROM guard_clock WHERE id = 1 FOR UPDATE;

-- name: keep_guard_time
INSERT INTO guard_clock AS kept (id, latest, shift, machine, machine_shift) VALUES (1, $1, 0, '', 0)
ON CONFLICT (id) DO UPDATE SET latest = greatest(kept.latest, excluded.latest);

-- name: keep_guard_clock
INSERT INTO guard_clock AS kept (id, latest, shift, machine, machine_shift) VALUES (1, $1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET
    latest = greatest(kept.latest, excluded.latest),
    shift = excluded.shift,
    machine = excluded.machine,
    machine_shift = excluded.machine_shift;

-- Those that nobody has locked.
-- name: remove_guard_counts
DELETE FROM guard_counts WHERE counter IN (
    SELECT counter FROM guard_counts WHERE gone_time <= $1 ORDER BY gone_time LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING counter;

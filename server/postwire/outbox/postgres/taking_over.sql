-- For a database that is filled with what another kind of store holds.

-- name: is_served
SELECT EXISTS (SELECT FROM nodes WHERE NOT dead AND lease_until > clock_timestamp());

-- name: end_copying
DELETE FROM facts WHERE name = $1;

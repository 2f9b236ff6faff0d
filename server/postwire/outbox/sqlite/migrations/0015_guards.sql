-- What guards have counted. A count is known by an HMAC of whom or what it is of (core.guards.counter_id), so that nobody
-- who has the file alone reads numbers and addresses in it.
CREATE TABLE guard_counts (
    counter BLOB PRIMARY KEY,
    -- When each step ends in which anything was counted, and how many: see core.guards.SlidingCount.
    steps BLOB NOT NULL,
    -- When the last of them leaves the window, by the guards' clock (µs).
    gone_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX gone_counts ON guard_counts (gone_time);

-- The clock that is counted by (core.guards.GuardClock): one row, once anything was.
CREATE TABLE guard_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    latest INTEGER NOT NULL,
    shift INTEGER NOT NULL,
    machine TEXT NOT NULL,
    machine_shift INTEGER NOT NULL
) STRICT;

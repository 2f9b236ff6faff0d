-- Who changed what, besides by dispatching. Rows are removed by their age only, and never changed.
CREATE TABLE events (
    event INTEGER PRIMARY KEY,
    -- µs since the epoch.
    time INTEGER NOT NULL,
    -- Whose things; '' for what belongs to nobody.
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_time ON events (time);

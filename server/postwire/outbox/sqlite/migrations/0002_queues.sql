-- Messages that wait, and providers that are drained.

-- The key of the queue that a message waits in: that of its route, or of the provider that its caller has pinned.
ALTER TABLE messages ADD COLUMN queue TEXT NOT NULL DEFAULT '';
-- The span under which it was accepted, as a W3C traceparent: later attempts link to it. Empty where it was not traced.
ALTER TABLE messages ADD COLUMN accept_trace TEXT NOT NULL DEFAULT '';

-- What is due, in the order in which it is taken. It holds what waits, and stays as small as that is.
CREATE INDEX due ON messages (queue, priority, next_attempt_time) WHERE state = 'queued';
CREATE INDEX expiring ON messages (expire_time) WHERE state = 'queued';

-- As before, but what a crash left in the middle of an attempt is found at once among a million that wait.
DROP INDEX unsettled;
CREATE INDEX unsettled ON messages (state, create_time) WHERE state IN ('queued', 'sending');

-- Providers that an operator has taken out of service, until they are resumed.
CREATE TABLE drained (
    provider_name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Facts about the file as a whole, by name.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

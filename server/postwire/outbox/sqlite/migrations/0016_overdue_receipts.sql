-- Further attempts of messages that were sent and of which no receipt comes in time. See `core.follow_up`.

-- By the due clock: when one is made. NULL where none is to be, and the last time there is while one is open.
ALTER TABLE messages ADD COLUMN follow_up_time INTEGER;

-- It holds what waits for a receipt, and stays as small as that is.
CREATE INDEX follow_ups ON messages (follow_up_time) WHERE follow_up_time IS NOT NULL;

-- Whether it is a further one.
ALTER TABLE attempts ADD COLUMN receipt_overdue INTEGER NOT NULL DEFAULT 0;

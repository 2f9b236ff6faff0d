-- Two clocks. What waits is due by one that nobody sets, but for `send_time` and `expire_time` as a caller gave them, which are
-- compared with the time of day.

-- By the due clock: when the time of a message runs out whose caller gave no `expire_time`.
ALTER TABLE messages ADD COLUMN deadline INTEGER;

-- Each index has times of one clock, in their order.
DROP INDEX due;
CREATE INDEX due ON messages (queue, priority, next_attempt_time IS send_time, next_attempt_time) WHERE state = 'queued';
DROP INDEX expiring;
CREATE INDEX expiring ON messages (expire_time) WHERE state = 'queued' AND deadline IS NULL;
CREATE INDEX deadlines ON messages (deadline) WHERE state = 'queued' AND deadline IS NOT NULL;

-- What is due is asked for one tenant, however much waits of others.
DROP INDEX due;
CREATE INDEX due ON messages (queue, tenant, priority, next_attempt_time IS send_time, next_attempt_time)
WHERE state = 'queued';

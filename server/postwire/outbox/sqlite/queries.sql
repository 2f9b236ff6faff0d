-- Every statement of the store. `{rows}` stands for as many rows of values as are written at once: one statement for a
-- whole batch, because each statement that runs gives up the interpreter lock and has to win it back. Rows of NULLs only
-- fill it up. `{record}`, `{work}` and the like stand for columns that `queries` lists.

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- Around reads that belong together: one moment for all of them.
-- name: savepoint
SAVEPOINT reading;

-- name: release
RELEASE reading;

-- Around changes that are kept together, some of which may be too late.
-- name: begin_changes
SAVEPOINT changes;

-- name: undo_changes
ROLLBACK TO changes;

-- name: end_changes
RELEASE changes;

-- name: insert_boot
INSERT INTO boots (start_time) VALUES (?) RETURNING boot;

-- name: touch_marker
UPDATE marker SET value = value + 1 WHERE id = 1;

-- name: last_key
SELECT coalesce(max(key), 0) FROM messages;

-- A request id that is taken leaves its row out; the caller compares how many rows went in.
-- name: insert_messages
INSERT INTO messages ({message}) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (tenant, request_id) DO NOTHING;

-- name: insert_contents
INSERT INTO contents (key, content) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_labels
INSERT INTO labels (key, labels) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_attempts
INSERT INTO attempts (message_id, number, boot, provider_name, start_time, trace_id, positions, receipt_overdue)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_changes
INSERT INTO changes (change, message_id, revision) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- A change of a record. It applies only to the revision that it was made from: that is the fence against results that
-- come too late, and against two who change one message at once.
-- name: update_messages
WITH changed (
    message_id, tenant, from_revision, state, update_time, next_attempt_time, attempt_number, provider_name, recipients, revision
) AS (VALUES {rows})
UPDATE messages
SET state = changed.state,
    update_time = changed.update_time,
    next_attempt_time = changed.next_attempt_time,
    attempt_number = changed.attempt_number,
    provider_name = changed.provider_name,
    recipients = changed.recipients,
    revision = changed.revision
FROM changed
WHERE messages.message_id = changed.message_id
    AND +messages.tenant = changed.tenant
    AND messages.revision = changed.from_revision;

-- name: update_notes
WITH noted (message_id, note) AS (VALUES {rows})
UPDATE messages SET note = noted.note FROM noted WHERE messages.message_id = noted.message_id;

-- name: update_reported
WITH reported (message_id, receipts, error_code) AS (VALUES {rows})
UPDATE messages
SET receipts = reported.receipts, error_code = reported.error_code
FROM reported
WHERE messages.message_id = reported.message_id;

-- When a further attempt follows. Fenced as a change is; where it is part of one, by the revision that it has led to.
-- name: update_follow_ups
WITH followed (message_id, tenant, revision, follow_up_time) AS (VALUES {rows})
UPDATE messages SET follow_up_time = followed.follow_up_time
FROM followed
WHERE messages.message_id = followed.message_id
    AND +messages.tenant = followed.tenant
    AND messages.revision = followed.revision;

-- name: close_attempts
WITH ended (message_id, number, outcome, duration, provider_message_id, error_code, detail) AS (VALUES {rows})
UPDATE attempts
SET outcome = ended.outcome,
    duration = ended.duration,
    provider_message_id = ended.provider_message_id,
    error_code = ended.error_code,
    detail = ended.detail
FROM ended
WHERE attempts.message_id = ended.message_id AND attempts.number = ended.number;

-- name: drop_attempts
WITH dropped (message_id, number) AS (VALUES {rows})
DELETE FROM attempts
WHERE (message_id, number) IN (SELECT message_id, number FROM dropped WHERE message_id IS NOT NULL);

-- How large the contents of messages are in all. Reads none of them: its length is in the head of each.
-- name: size_of_contents
WITH settled (message_id) AS (VALUES {rows})
SELECT coalesce(sum(length(content)), 0) FROM contents
WHERE key IN (
    SELECT key FROM messages WHERE message_id IN (SELECT message_id FROM settled WHERE message_id IS NOT NULL)
);

-- The contents of messages that are settled. The row stays, empty, until its message is removed: deleting it would have
-- SQLite move the rows beside it between pages, and that leaves copies behind that `secure_delete` does not clear.
-- name: erase_contents
WITH settled (message_id) AS (VALUES {rows})
UPDATE contents SET content = x''
WHERE key IN (
    SELECT key FROM messages WHERE message_id IN (SELECT message_id FROM settled WHERE message_id IS NOT NULL)
);

-- name: message_by_id
SELECT {record} FROM messages WHERE message_id = ? AND +tenant = ?;

-- name: message_by_request_id
SELECT {record} FROM messages WHERE tenant = ? AND request_id = ?;

-- name: messages_by_request_ids
SELECT {record} FROM messages WHERE tenant = ? AND request_id IN (SELECT value FROM json_each(?));

-- Where the stretch of messages ends that one page looks at: of the tenant's, so that the pages of one say nothing of how
-- many messages others have, and take no longer for them.
-- name: list_end
SELECT message_id FROM messages
WHERE tenant = :tenant AND message_id < :after
ORDER BY message_id DESC LIMIT 1 OFFSET :scan - 1;

-- A NULL does not narrow the choice. Lists come as JSON.
-- name: list_messages
SELECT {record} FROM messages
WHERE tenant = :tenant
    AND message_id < :after
    AND message_id >= :end
    AND (:channels IS NULL OR channel IN (SELECT value FROM json_each(:channels)))
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (
        :provider_names IS NULL
        -- Before the first attempt there is no provider, and none is called "".
        OR (attempt_number > 0 AND provider_name IN (SELECT value FROM json_each(:provider_names)))
    )
    AND (:create_time_from IS NULL OR create_time >= :create_time_from)
    AND (:create_time_to IS NULL OR create_time < :create_time_to)
    AND (:labels IS NULL OR NOT EXISTS (
        SELECT 1 FROM json_each(:labels) AS wanted
        WHERE NOT EXISTS (
            SELECT 1
            FROM json_each((SELECT labels FROM labels WHERE labels.key = messages.key AND labels <> '')) AS had
            WHERE had.key = wanted.key AND had.value = wanted.value
        )
    ))
ORDER BY message_id DESC LIMIT :size;

-- name: attempts_of_all
SELECT message_id, {attempt} FROM attempts WHERE message_id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY message_id, number;

-- name: attempts_of
SELECT {attempt} FROM attempts WHERE message_id = ? ORDER BY number;

-- name: stats
SELECT
    (SELECT count(*) FROM messages WHERE state IN ('queued', 'sending')),
    -- Each of the two is a look at one end of the index.
    (SELECT min(oldest) FROM (
        SELECT min(create_time) AS oldest FROM messages WHERE state IN ('queued', 'sending') AND state = 'queued'
        UNION ALL
        SELECT min(create_time) FROM messages WHERE state IN ('queued', 'sending') AND state = 'sending'
    ));

-- How many wait in a queue.
-- name: queued_count
SELECT count(*) FROM messages WHERE state = 'queued' AND queue = ? AND tenant = ?;

-- The queue of each message that is on its way.
-- name: sending_queues
SELECT tenant, queue FROM messages WHERE state IN ('queued', 'sending') AND state = 'sending';

-- What waits in a queue with one priority for a time that its caller has given, by seconds (wall clock).
-- name: scheduled_counts
SELECT next_attempt_time / 1000000, count(*) FROM messages
WHERE state = 'queued' AND queue = ? AND tenant = ? AND priority = ?
    AND (next_attempt_time IS send_time) = 1 AND next_attempt_time > ?
GROUP BY 1;

-- What waits in a queue with one priority and is due, longest due first; with it what the path has to know. Apart, what is
-- scheduled (1), whose times are the wall clock's, and all else (0), whose times are the due clock's.
-- name: due
SELECT {work}, (SELECT length(content) FROM contents WHERE contents.key = messages.key)
FROM messages
WHERE state = 'queued' AND queue = ? AND tenant = ? AND priority = ?
    AND (next_attempt_time IS send_time) = ? AND next_attempt_time <= ?
ORDER BY next_attempt_time LIMIT ?;

-- name: next_due
SELECT min(next_attempt_time) FROM messages
WHERE state = 'queued' AND queue = ? AND tenant = ? AND priority = ? AND (next_attempt_time IS send_time) = ?
    AND next_attempt_time > ?;

-- name: due_count
SELECT count(*) FROM (
    SELECT 1 FROM messages
    WHERE state = 'queued' AND queue = ? AND tenant = ? AND priority = ? AND (next_attempt_time IS send_time) = ?
        AND next_attempt_time <= ? LIMIT ?
);

-- The same of how many that is in all, and since when the first of them is.
-- name: all_due
SELECT count(*), min(next_attempt_time) FROM messages
WHERE state = 'queued' AND queue = ? AND tenant = ? AND priority = ? AND (next_attempt_time IS send_time) = ?
    AND next_attempt_time <= ?;

-- The first queue behind another that anything waits in, and whose it is: asked again and again, it skips from one to the
-- next.
-- name: next_queue
SELECT queue, tenant FROM messages WHERE state = 'queued' AND queue > ? ORDER BY queue, tenant LIMIT 1;

-- Apart from the one above: for `(queue, tenant) > (?, ?)` SQLite goes through all that is equal to the one before.
-- name: next_queue_of_name
SELECT queue, tenant FROM messages WHERE state = 'queued' AND queue = ? AND tenant > ? ORDER BY queue, tenant LIMIT 1;

-- What an earlier boot left in the middle of an attempt.
-- name: orphans
SELECT {work} FROM messages
WHERE state IN ('queued', 'sending') AND state = 'sending'
ORDER BY create_time LIMIT ?;

-- Further attempts that an earlier boot left in the middle.
-- name: open_follow_ups
SELECT {work} FROM messages WHERE follow_up_time = 253402300799999999 LIMIT ?;

-- Those that are due, longest due first; none that is open.
-- name: overdue
SELECT {work} FROM messages WHERE follow_up_time <= ? ORDER BY follow_up_time LIMIT ?;

-- name: next_follow_up
SELECT min(follow_up_time) FROM messages WHERE follow_up_time IS NOT NULL;

-- By the wall clock, where the caller has said when.
-- name: expired
SELECT {record} FROM messages WHERE state = 'queued' AND deadline IS NULL AND expire_time <= ? ORDER BY expire_time LIMIT ?;

-- name: next_expiry
SELECT min(expire_time) FROM messages WHERE state = 'queued' AND deadline IS NULL;

-- By the due clock, where it was left to us.
-- name: past_deadline
SELECT {record} FROM messages WHERE state = 'queued' AND deadline <= ? ORDER BY deadline LIMIT ?;

-- name: next_deadline
SELECT min(deadline) FROM messages WHERE state = 'queued' AND deadline IS NOT NULL;

-- The due clock of this boot is ahead of that of the last one by `by`.
-- name: shift_due
UPDATE messages SET next_attempt_time = next_attempt_time + :by
WHERE state = 'queued' AND queue = :queue AND tenant = :tenant AND priority = :priority
    AND (next_attempt_time IS send_time) = 0;

-- name: shift_deadlines
UPDATE messages SET deadline = deadline + :by WHERE state IN ('queued', 'sending') AND deadline IS NOT NULL;

-- name: shift_follow_ups
UPDATE messages
SET deadline = deadline + :by,
    follow_up_time = iif(follow_up_time = 253402300799999999, follow_up_time, follow_up_time + :by)
WHERE follow_up_time IS NOT NULL;

-- name: bound_follow_ups
UPDATE messages SET follow_up_time = :latest_follow_up
WHERE follow_up_time > :latest_follow_up AND follow_up_time < 253402300799999999;

-- After a restore: whether a receipt has come since the copy was made is not known.
-- name: end_follow_ups
UPDATE messages SET follow_up_time = NULL WHERE follow_up_time IS NOT NULL;

-- No backoff is as long as this: the clock was set back between two boots. What a provider has put off, for the message or
-- for somebody who is left, waits for longer than any backoff.
-- name: bound_due
UPDATE messages SET next_attempt_time = iif(attempt_number = 0, :now, :latest)
WHERE state = 'queued' AND queue = :queue AND tenant = :tenant AND priority = :priority
    AND (next_attempt_time IS send_time) = 0
    AND next_attempt_time > iif(attempt_number = 0, :now, :latest) AND next_attempt_time > :now
    AND NOT EXISTS (
        SELECT 1 FROM attempts
        WHERE attempts.message_id = messages.message_id AND number = attempt_number AND outcome = 'deferred'
    )
    AND NOT EXISTS (
        SELECT 1 FROM json_each(recipients) WHERE value ->> 0 = 'queued' AND value ->> 1 = 'deferred'
    );

-- After that, only what was put off waits for as long as this.
-- name: bound_deferred
UPDATE messages SET next_attempt_time = :latest_deferred
WHERE state = 'queued' AND queue = :queue AND tenant = :tenant AND priority = :priority
    AND (next_attempt_time IS send_time) = 0
    AND next_attempt_time > :latest_deferred;

-- What waits, in the order of acceptance, behind a key; in some queues, as JSON, or in all of them. It reads the table
-- on from there, for a boot at which routes have changed.
-- name: scan_queued
SELECT {work} FROM messages
WHERE +state = 'queued' AND key > :after AND (:queues IS NULL OR +queue IN (SELECT value FROM json_each(:queues)))
ORDER BY key LIMIT :limit;

-- Fenced as a change is, but not a change: its revision stays, and nobody who watches hears of it.
-- name: reassign_messages
WITH moved (message_id, tenant, from_revision, from_queue, queue) AS (VALUES {rows})
UPDATE messages
SET queue = moved.queue
FROM moved
WHERE messages.message_id = moved.message_id
    AND +messages.tenant = moved.tenant
    AND messages.revision = moved.from_revision
    AND messages.queue = moved.from_queue;

-- name: first_and_last_change
SELECT (SELECT coalesce(min(change), 0) FROM changes), (SELECT coalesce(max(change), 0) FROM changes);

-- Who has changed, with their last change of this stretch, and the revision that it led to.
-- name: changes_after
SELECT max(change) AS last, message_id, max(revision)
FROM (SELECT change, message_id, revision FROM changes WHERE change > ? ORDER BY change LIMIT ?)
GROUP BY message_id ORDER BY last;

-- name: messages_by_ids
SELECT {record} FROM messages WHERE message_id IN (SELECT unhex(value) FROM json_each(?)) AND +tenant = ?;

-- How many of these messages there still are, of whatever tenant.
-- name: kept_count
SELECT count(*) FROM messages WHERE message_id IN (SELECT unhex(value) FROM json_each(?));

-- Retention, in small steps: what the next messages behind a key are, in the order of acceptance. How far they reach, how
-- many of them are to go, and when the first of them was accepted.
-- name: step
SELECT max(key), count(*) FILTER (WHERE update_time < :before AND state NOT IN ('queued', 'sending')), min(create_time)
FROM (SELECT key, update_time, create_time, state FROM messages WHERE key > :after ORDER BY key LIMIT :limit);

-- The same for contents that are kept for a while: how far the next messages reach, how many of them have a content that
-- is to be erased, and when the first of them was accepted. `of_tenants` has other times, by tenant, as JSON. What a further
-- attempt may need stays.
-- name: erasure_step
SELECT
    max(key),
    count(*) FILTER (
        WHERE update_time < coalesce(json_extract(:of_tenants, '$."' || tenant || '"'), :before)
            AND state NOT IN ('queued', 'sending') AND follow_up_time IS NULL
            AND (SELECT length(content) FROM contents WHERE contents.key = seen.key) > 0
    ),
    min(create_time)
FROM (
    SELECT key, tenant, update_time, create_time, state, follow_up_time FROM messages
    WHERE key > :after ORDER BY key LIMIT :limit
) AS seen;

-- name: erase_settled
UPDATE contents SET content = x''
WHERE length(content) > 0 AND key IN (
    SELECT key FROM messages
    WHERE key > :after AND key <= :end AND state NOT IN ('queued', 'sending') AND follow_up_time IS NULL
        AND update_time < coalesce(json_extract(:of_tenants, '$."' || tenant || '"'), :before)
);

-- How large they are among them. Behind `step` as well, whose messages have their contents where these are kept.
-- name: content_sizes
SELECT key, length(content) FROM contents WHERE key > :after AND key <= :end AND length(content) > 0 ORDER BY key;

-- Those of some messages that are settled and have something that can be erased, and how long their contents are.
-- name: erasable
SELECT key, message_id, revision, coalesce((SELECT length(content) FROM contents WHERE contents.key = messages.key), 0)
FROM messages
WHERE message_id IN (SELECT unhex(value) FROM json_each(:ids)) AND +tenant = :tenant
    AND +state NOT IN ('queued', 'sending')
    AND +follow_up_time IS NOT 253402300799999999
    AND (
        EXISTS (SELECT 1 FROM contents WHERE contents.key = messages.key AND length(content) > 0)
        OR EXISTS (SELECT 1 FROM labels WHERE labels.key = messages.key AND labels <> '')
        OR EXISTS (SELECT 1 FROM recipients AS whom WHERE whom.key = messages.key AND hashes <> x'')
    );

-- name: unsettled_of
SELECT count(*) FROM messages
WHERE message_id IN (SELECT unhex(value) FROM json_each(:ids)) AND +tenant = :tenant
    AND (+state IN ('queued', 'sending') OR +follow_up_time = 253402300799999999);

-- In place, as `erase_contents`.
-- name: erase_contents_of
UPDATE contents SET content = x'' WHERE key IN (SELECT value FROM json_each(?)) AND length(content) > 0;

-- name: erase_labels_of
UPDATE labels SET labels = '' WHERE key IN (SELECT value FROM json_each(?));

-- name: erase_hashes_of
UPDATE recipients SET hashes = x'', sender = '' WHERE key IN (SELECT value FROM json_each(?)) AND hashes <> x'';

-- name: note_erased
UPDATE messages SET revision = revision + 1, follow_up_time = NULL WHERE key IN (SELECT value FROM json_each(?));

-- name: remove_labels
DELETE FROM labels WHERE key IN (
    SELECT key FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_contents
DELETE FROM contents WHERE key IN (
    SELECT key FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_recipients
DELETE FROM recipients WHERE key IN (
    SELECT key FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_receipts
DELETE FROM receipts WHERE message_id IN (
    SELECT message_id FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_provider_ids
DELETE FROM provider_ids WHERE message_id IN (
    SELECT message_id FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_attempts
DELETE FROM attempts WHERE message_id IN (
    SELECT message_id FROM messages
    WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending')
);

-- name: remove_messages
DELETE FROM messages
WHERE key > :after AND key <= :end AND update_time < :before AND state NOT IN ('queued', 'sending');

-- name: remove_changes
DELETE FROM changes WHERE change < (SELECT min(change) FROM changes) + ?;

-- What providers report. An event that is there already leaves its row out.
-- name: insert_receipt
INSERT INTO receipts (
    provider_name, event, message_id, attempt, recipient, state, code, part, time, permanent, receive_time, to_report
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (provider_name, event, recipient) DO NOTHING;

-- name: receipts_to_count
SELECT count(*) FROM (SELECT 1 FROM receipts WHERE message_id = ? LIMIT ?);

-- The attempt that a receipt belongs to, and the recipients of its message.
-- name: attempt_of_receipt
SELECT
    attempts.provider_name, attempts.positions, coalesce(json_array_length(messages.recipients), 0),
    (SELECT hashes FROM recipients AS whom WHERE whom.key = messages.key)
FROM attempts CROSS JOIN messages ON messages.message_id = attempts.message_id
WHERE attempts.message_id = ? AND attempts.number = ?;

-- name: provider_id
SELECT message_id, attempt, recipient FROM provider_ids WHERE provider_name = ? AND provider_message_id = ?;

-- A vendor that knows a repeated attempt for the same gives it the same id.
-- name: insert_provider_ids
INSERT INTO provider_ids (provider_name, provider_message_id, message_id, attempt, recipient)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (provider_name, provider_message_id)
DO UPDATE SET message_id = excluded.message_id, attempt = excluded.attempt, recipient = excluded.recipient;

-- name: insert_recipients
INSERT INTO recipients (key, hashes, sender) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: recipients_of
SELECT hashes, sender FROM recipients WHERE key = ?;

-- name: hold_receipt
INSERT INTO held_receipts ({held}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (provider_name, event) DO NOTHING;

-- name: held_counts
SELECT provider_name, count(*) FROM held_receipts GROUP BY provider_name;

-- name: held_keys
SELECT provider_name, provider_message_id, message_id FROM held_receipts ORDER BY held;

-- name: held_by_provider_id
SELECT held, {held} FROM held_receipts WHERE provider_name = ? AND provider_message_id = ? ORDER BY held;

-- name: held_by_message
SELECT held, {held} FROM held_receipts WHERE message_id = ? ORDER BY held;

-- name: oldest_held
SELECT min(held) FROM held_receipts WHERE provider_name = ?;

-- name: held_before
SELECT held, provider_name FROM held_receipts WHERE receive_time < ? ORDER BY receive_time LIMIT ?;

-- name: drop_held
DELETE FROM held_receipts WHERE held = ?;

-- What is left to be done.
-- name: pending_receipts
SELECT message_id, receipt, applied FROM receipts WHERE done_time IS NULL;

-- The same in the order in which it came, a few at a time.
-- name: pending_after
SELECT receipt, message_id FROM receipts WHERE done_time IS NULL AND receipt > ? ORDER BY receipt LIMIT ?;

-- name: receipts_of
SELECT message_id, {receipt} FROM receipts
WHERE message_id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY message_id, receipt;

-- name: messages_of_all_tenants
SELECT {record} FROM messages WHERE message_id IN (SELECT unhex(value) FROM json_each(?));

-- Their change is kept, and those are done with that nobody is to hear of.
-- name: apply_receipts
WITH seen (receipt, now) AS (VALUES {rows})
UPDATE receipts SET applied = 1, done_time = iif(to_report, NULL, seen.now) FROM seen WHERE receipts.receipt = seen.receipt;

-- name: finish_receipts
UPDATE receipts SET applied = 1, done_time = :now
WHERE receipt IN (SELECT value FROM json_each(:receipts)) AND done_time IS NULL;

-- name: oldest_done
SELECT min(done_time) FROM receipts;

-- name: remove_done_receipts
DELETE FROM receipts WHERE receipt IN (SELECT receipt FROM receipts WHERE done_time < ? ORDER BY done_time LIMIT ?);

-- name: inbound_event
SELECT 1 FROM inbound_events WHERE provider_name = ? AND event = ?;

-- name: keep_inbound_event
INSERT INTO inbound_events (provider_name, event, receive_time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: oldest_inbound_event
SELECT min(receive_time) FROM inbound_events;

-- name: remove_inbound_events
DELETE FROM inbound_events WHERE (provider_name, event) IN (
    SELECT provider_name, event FROM inbound_events WHERE receive_time < ? ORDER BY receive_time LIMIT ?
);

-- Hashes of recipients, as `erasure_step` and `erase_settled` are for contents. It goes by those there are, which are none
-- where no receipts are taken.
-- name: hashes_step
SELECT
    max(key),
    count(*) FILTER (WHERE length(hashes) > 0 AND update_time < :before AND state NOT IN ('queued', 'sending')),
    min(create_time)
FROM (
    SELECT whom.key, hashes, update_time, create_time, state
    FROM recipients AS whom CROSS JOIN messages ON messages.key = whom.key
    WHERE whom.key > :after ORDER BY whom.key LIMIT :limit
);

-- name: erase_hashes
UPDATE recipients SET hashes = x'', sender = ''
WHERE hashes <> x'' AND key IN (
    SELECT key FROM messages
    WHERE key > :after AND key <= :end AND state NOT IN ('queued', 'sending') AND update_time < :before
);

-- What is kept of who changed what.
-- name: insert_events
INSERT INTO events (time, tenant, principal, method, target, result, reason)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- Where the stretch of events ends that one page looks at.
-- name: events_end
SELECT time, event FROM events
WHERE time >= :from AND time <= :time AND (time, event) < (:time, :event)
ORDER BY time DESC, event DESC LIMIT 1 OFFSET :scan - 1;

-- A NULL does not narrow the choice.
-- name: list_events
SELECT time, event, tenant, principal, method, target, result, reason FROM events
WHERE time >= :from AND time <= :time AND (time, event) < (:time, :event)
    AND (time, event) >= (:end_time, :end_event)
    AND (:tenant IS NULL OR tenant = :tenant)
    AND (:method IS NULL OR method = :method)
ORDER BY time DESC, event DESC LIMIT :size;

-- name: oldest_event
SELECT min(time) FROM events;

-- name: remove_events
DELETE FROM events
WHERE event IN (SELECT event FROM events WHERE time < ? ORDER BY time LIMIT ?);

-- name: drained
SELECT provider_name FROM drained;

-- name: drain
INSERT INTO drained (provider_name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: resume
DELETE FROM drained WHERE provider_name = ?;

-- name: resets
SELECT provider_name, count FROM resets;

-- name: add_reset
INSERT INTO resets (provider_name, count) VALUES (?, 1)
ON CONFLICT (provider_name) DO UPDATE SET count = count + 1;

-- name: provider_notes
SELECT provider_name, note FROM provider_notes;

-- name: keep_provider_note
INSERT INTO provider_notes (provider_name, note) VALUES (?, ?)
ON CONFLICT (provider_name) DO UPDATE SET note = excluded.note;

-- name: fact
SELECT value FROM facts WHERE name = ?;

-- name: keep_fact
INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: forget_fact
DELETE FROM facts WHERE name = ?;

-- name: lookup_key
SELECT wrapped FROM lookup_key;

-- name: keep_lookup_key
INSERT INTO lookup_key (id, wrapped) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET wrapped = excluded.wrapped;

-- name: encryption_keys
SELECT key_id, proof FROM encryption_keys;

-- name: add_encryption_key
INSERT INTO encryption_keys (key_id, proof) VALUES (?, ?) ON CONFLICT (key_id) DO NOTHING;

-- name: remove_other_encryption_keys
DELETE FROM encryption_keys WHERE key_id <> ?;

-- The next contents behind a key, and how long they are, which reads none of them.
-- name: contents_after
SELECT key, length(content) FROM contents WHERE key > ? ORDER BY key LIMIT ?;

-- name: content_with_owner
SELECT content, message_id, tenant FROM contents JOIN messages USING (key) WHERE contents.key = ?;

-- One that was erased meanwhile stays so.
-- name: replace_content
UPDATE contents SET content = ? WHERE key = ? AND length(content) > 0;

-- name: content_by_key
SELECT content FROM contents WHERE key = ?;

-- name: contents_of
SELECT message_id, content FROM messages JOIN contents USING (key)
WHERE message_id IN (SELECT unhex(value) FROM json_each(?));

-- name: content_of
SELECT content FROM contents WHERE key = (SELECT key FROM messages WHERE message_id = ? AND +tenant = ?);

-- For `postwire store check`, which reads everything there is.
-- name: count_states
SELECT state, count(*) FROM messages GROUP BY state ORDER BY state;

-- By the id of the key that they are encrypted with; in clear, by none. See `outbox.cipher`.
-- name: count_keys
SELECT
    iif(
        substr(content, 1, 1) = x'02',
        CAST(substr(content, 3, unicode(CAST(substr(content, 2, 1) AS TEXT))) AS TEXT),
        ''
    ) AS key_id,
    count(*)
FROM contents WHERE length(content) > 0
GROUP BY key_id ORDER BY key_id;

-- name: encrypted_contents
SELECT content, message_id, tenant FROM contents JOIN messages USING (key) WHERE substr(content, 1, 1) = x'02';

-- name: count_attempts
SELECT count(*) FROM attempts;

-- name: fault_settled_and_open
SELECT count(*) FROM messages JOIN attempts USING (message_id)
WHERE attempts.outcome IS NULL AND messages.state <> 'sending' AND follow_up_time IS NOT 253402300799999999;

-- name: fault_two_open
SELECT count(*) FROM (
    SELECT message_id FROM attempts WHERE outcome IS NULL GROUP BY message_id HAVING count(*) > 1
);

-- name: fault_no_message
SELECT count(*) FROM attempts WHERE message_id NOT IN (SELECT message_id FROM messages);

-- name: fault_receipts_of_none
SELECT count(*) FROM receipts WHERE message_id NOT IN (SELECT message_id FROM messages);

-- Those that are settled, and have no further attempt to come, have none any more.
-- name: fault_no_content
SELECT count(*) FROM messages
WHERE (state IN ('queued', 'sending') OR follow_up_time IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM contents WHERE contents.key = messages.key AND length(content) > 0);

-- name: fault_unknown_content
SELECT count(*) FROM contents WHERE length(content) > 0 AND substr(content, 1, 1) NOT IN (x'01', x'02');

-- Once everything was encrypted, nothing is in clear.
-- name: fault_clear_content
SELECT count(*) FROM contents
WHERE substr(content, 1, 1) = x'01' AND EXISTS (SELECT 1 FROM facts WHERE name = 'encrypted');

-- Who must not be written to. In this order of the tables each address is one look at the index.
-- name: suppressions_of
WITH asked (of, hash) AS (VALUES {rows})
SELECT {suppression} FROM asked CROSS JOIN suppressions
WHERE tenant = of AND address_hash = hash;

-- name: last_suppression
SELECT coalesce(max(suppression), 0) FROM suppressions;

-- One that has expired is as good as gone, so another one takes its place.
-- name: add_suppressions
INSERT INTO suppressions ({suppression}) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (tenant, address_hash, sender) DO UPDATE
SET reason = excluded.reason,
    source = excluded.source,
    create_time = iif(suppressions.expire_time <= excluded.create_time, excluded.create_time, suppressions.create_time),
    expire_time = excluded.expire_time,
    key_id = excluded.key_id;

-- name: add_new_suppressions
INSERT INTO suppressions ({suppression}) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (tenant, address_hash, sender) DO UPDATE
SET reason = excluded.reason,
    source = excluded.source,
    create_time = iif(suppressions.expire_time <= excluded.create_time, excluded.create_time, suppressions.create_time),
    expire_time = excluded.expire_time,
    key_id = excluded.key_id
WHERE suppressions.expire_time < ifnull(excluded.expire_time, 9223372036854775807);

-- name: remove_suppressions
WITH asked (tenant, address_hash, sender) AS (VALUES {rows})
DELETE FROM suppressions
WHERE (tenant, address_hash, sender) IN (SELECT tenant, address_hash, sender FROM asked WHERE tenant IS NOT NULL);

-- name: list_suppressions
SELECT suppression, {suppression} FROM suppressions
WHERE tenant = :tenant AND create_time <= :time AND (create_time, suppression) < (:time, :number)
ORDER BY create_time DESC, suppression DESC LIMIT :size;

-- name: remove_expired_suppressions
DELETE FROM suppressions
WHERE suppression IN (
    SELECT suppression FROM suppressions WHERE expire_time IS NOT NULL AND expire_time <= ? ORDER BY expire_time LIMIT ?
);

-- name: guard_counts
WITH asked (counter) AS (VALUES {rows})
SELECT guard_counts.counter, guard_counts.steps FROM asked CROSS JOIN guard_counts
ON guard_counts.counter = asked.counter;

-- name: keep_guard_counts
INSERT INTO guard_counts (counter, steps, gone_time) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (counter) DO UPDATE SET steps = excluded.steps, gone_time = excluded.gone_time;

-- name: first_gone
SELECT min(gone_time) FROM guard_counts;

-- name: remove_guard_counts
DELETE FROM guard_counts WHERE counter IN (
    SELECT counter FROM guard_counts WHERE gone_time <= ? ORDER BY gone_time LIMIT ?
);

-- name: guard_clock
SELECT latest, shift, machine, machine_shift FROM guard_clock WHERE id = 1;

-- name: keep_guard_clock
INSERT INTO guard_clock (id, latest, shift, machine, machine_shift) VALUES (1, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    latest = excluded.latest,
    shift = excluded.shift,
    machine = excluded.machine,
    machine_shift = excluded.machine_shift;

-- name: known_request_ids
SELECT request_id FROM messages WHERE tenant = ? AND request_id IN (SELECT value FROM json_each(?));

-- For a copy that is another kind of store.
-- name: count_messages
SELECT count(*) FROM messages;

-- name: copied_messages
SELECT {work} FROM messages WHERE key > ? ORDER BY key LIMIT ?;

-- name: copied_contents
SELECT key, content FROM contents WHERE key > :after AND key <= :end AND length(content) > 0;

-- name: copied_recipients
SELECT key, hashes, sender FROM recipients WHERE key > :after AND key <= :end AND hashes <> x'';

-- How many receipts of messages are not applied.
-- name: unapplied_receipts
SELECT message_id, count(*) FROM receipts WHERE applied = 0 GROUP BY message_id;

-- name: facts
SELECT name, value FROM facts;

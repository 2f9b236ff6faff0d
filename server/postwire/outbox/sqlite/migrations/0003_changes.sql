-- What has changed, in the order of the commits: where those who watch go on after an interruption. The oldest are
-- removed in time, but never the last, so that numbers are given once.
CREATE TABLE changes (
    change INTEGER PRIMARY KEY,
    message_id BLOB NOT NULL
) STRICT;

-- The store's name, which no other has: a number of a change means nothing in another one.
INSERT INTO facts (name, value) VALUES ('store', lower(hex(randomblob(16))));

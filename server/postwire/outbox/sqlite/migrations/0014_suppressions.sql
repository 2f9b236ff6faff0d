-- Who must not be written to, by hashes of addresses under a key that is best kept elsewhere.
CREATE TABLE suppressions (
    suppression INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- 32 bytes: HMAC-SHA256.
    address_hash BLOB NOT NULL,
    -- The sender that it is about; '' for any.
    sender TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    -- µs since the epoch.
    create_time INTEGER NOT NULL,
    -- NULL: for good.
    expire_time INTEGER,
    -- The fingerprint of the key.
    key_id TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX suppressions_by_address ON suppressions (tenant, address_hash, sender);
CREATE INDEX suppressions_by_time ON suppressions (tenant, create_time);
CREATE INDEX suppressions_by_expiry ON suppressions (expire_time) WHERE expire_time IS NOT NULL;

-- Whether a message goes to those who are suppressed, too.
ALTER TABLE messages ADD COLUMN ignore_suppression INTEGER NOT NULL DEFAULT 0;

-- The messages of phones that have led to something, by what each is known when it comes again: nobody is to take an opt-out
-- back by sending once more what was sent before it.
CREATE TABLE inbound_events (
    provider_name TEXT NOT NULL,
    event BLOB NOT NULL,
    receive_time INTEGER NOT NULL,
    PRIMARY KEY (provider_name, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbound_by_time ON inbound_events (receive_time);

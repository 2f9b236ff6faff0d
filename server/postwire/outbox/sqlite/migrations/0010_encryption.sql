-- The keys that contents may be encrypted with, and what tells each from another of the same id.
CREATE TABLE encryption_keys (
    key_id TEXT PRIMARY KEY,
    proof BLOB NOT NULL
) STRICT, WITHOUT ROWID;

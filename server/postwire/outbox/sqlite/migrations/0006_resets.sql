-- How often an operator has reset the breaker of a provider: who shares the store sees by it that one was reset.
CREATE TABLE resets (
    provider_name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

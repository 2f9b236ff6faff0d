-- A list looks at the messages of one tenant, however many others have. Ids rise with acceptance, so what a tenant has
-- grows at its end here too, and nothing of it changes afterwards.
CREATE INDEX lists ON messages (tenant, message_id);

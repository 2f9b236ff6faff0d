"""That no index hangs on the rules of a language, which differ from one host to the next."""

from __future__ import annotations

import asyncpg
from tests.support.postgres import new_database

BY_LANGUAGE = """
SELECT indexrelid::regclass::text AS index, attname AS indexed
FROM pg_index
JOIN pg_class ON pg_class.oid = indrelid AND relnamespace = 'public'::regnamespace
CROSS JOIN unnest(indkey::int2[], indcollation::oid[]) AS of (number, sorted_by)
JOIN pg_attribute ON attrelid = indrelid AND attnum = of.number
WHERE of.sorted_by NOT IN (0, '"C"'::regcollation)
ORDER BY 1, 2
"""


async def test_what_is_indexed_is_sorted_by_its_bytes() -> None:
    connection = await asyncpg.connect(await new_database())
    try:
        assert [(one["index"], one["indexed"]) for one in await connection.fetch(BY_LANGUAGE)] == []
    finally:
        await connection.close()

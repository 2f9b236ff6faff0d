"""That there is a PostgreSQL for the tests that need one: without it they are skipped, one by one."""

from __future__ import annotations

from tests.support.needed import Need

from postwire.cli.demo.local_postgres import NoPostgres, programs


def test_there_is_a_postgresql(need: Need) -> None:
    try:
        found = programs()
    except NoPostgres as error:
        need(lacking=str(error))
    else:
        assert (found / "postgres").exists()

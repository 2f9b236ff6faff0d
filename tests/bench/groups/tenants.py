"""What a message costs where callers show keys, where there are tenants with quotas, and where contents are encrypted,
against where nobody is asked who he is.
"""

from __future__ import annotations

import base64
import os
from contextlib import ExitStack
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import Case, costs, figure
from tests.bench.processes import postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

from postwire.auth.api_keys import NewKey, new_key

TENANTS: Final = 100
CALLER: Final = TENANTS // 2
"""Which of them calls."""
QUOTAS: Final = """
rate = 1e6
max_unsettled = 1_000_000
max_in_flight = 1_000
weight = 3
"""


def measure(bench: Bench) -> Result:
    """See the module."""
    keys = [new_key(os.urandom) for _ in range(TENANTS)]
    config = "".join(f"[tenants.t{number}]{QUOTAS}{_declared(number, key)}" for number, key in enumerate(keys))
    token = keys[CALLER].text
    keys_file = bench.folder / "encryption.keys"
    keys_file.write_text(f"new = {base64.b64encode(os.urandom(32)).decode()}\n", encoding="utf-8")
    encrypted = f'[store]\nencryption_keys_file = "{keys_file}"\n'
    with ExitStack() as serving:
        alone = serving.enter_context(postwire_server("no-tenants", bench.folder))
        with_key = serving.enter_context(postwire_server("key", bench.folder, config=_declared(CALLER, keys[CALLER])))
        sealed = serving.enter_context(postwire_server("encrypted", bench.folder, config=encrypted + config))
        shared = serving.enter_context(
            postwire_server("tenants", bench.folder, {"POSTWIRE_TELEMETRY__TENANT_LABEL": "true"}, config=config)
        )
        runs = [
            Run(Case("no-tenants", "Dispatch, no tenants"), alone, bench.calls(alone)),
            Run(Case("key", "Dispatch, an API key", "no-tenants"), with_key, bench.calls(with_key, token=token)),
            Run(
                Case("encrypted", f"Dispatch, {TENANTS} tenants, encrypted", "no-tenants"),
                sealed,
                bench.calls(sealed, token=token),
            ),
            Run(
                Case("tenants", f"Dispatch, {TENANTS} tenants", "no-tenants"),
                shared,
                bench.calls(shared, token=token),
            ),
            Run(Case("no-tenants-stream", "DispatchStream, no tenants"), alone, bench.streams(alone)),
            Run(
                Case("tenants-stream", f"DispatchStream, {TENANTS} tenants", "no-tenants-stream"),
                shared,
                bench.streams(shared, token=token),
            ),
        ]
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    called, streamed = bench.total(bench.scale.messages), bench.total(bench.scale.streamed)
    for name in ("no-tenants", "tenants", "key", "encrypted"):
        sent = called + streamed if name in ("no-tenants", "tenants") else called
        check_stored(name, store_of(name, bench.folder), messages=sent, sent=sent)
    compared = [run.case for run in runs if run.case.against]
    figures = [figure(case.name, costs(measurements, case)) for case in compared]
    table = Table("Tenants", [run.case for run in runs], measurements, by_cost=True, remarks=[])
    return Result(figures, table)


def _declared(number: int, key: NewKey) -> str:
    return f"""
[[tenants.t{number}.keys]]
id = "{key.id}"
sha256 = "{key.sha256}"
roles = ["send"]
"""

"""`postwire serve`, with a log of its calls and, if asked, a failpoint.

`CALL_LOG` names the log's file; `FAILPOINT` is a place of `failpoints.POINTS` and how often it is come by, as in
`send.begun:17`. Everything else is as in the product, from its configuration to its exit code.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from types import MappingProxyType

from tests.support.call_log import CallLog
from tests.support.failpoints import FailingFiles, Failpoint, failing_mock, failing_outbox

from postwire import app, stores
from postwire.cli.serve import serve
from postwire.providers.mock import KIND


def run() -> None:
    log = CallLog(os.environ["CALL_LOG"])
    name, _, count = os.environ.get("FAILPOINT", "").partition(":")
    failpoint = Failpoint(name, int(count or 0), log)
    setattr(stores, "SqliteOutbox", failing_outbox(failpoint, log))  # noqa: B010  mypy refuses the plain assignment
    setattr(app, "KINDS", MappingProxyType({"mock": replace(KIND, make=failing_mock(failpoint, log))}))  # noqa: B010
    files = FailingFiles(failpoint) if name.startswith("store.") else None
    code = serve.main(args=[], standalone_mode=False)
    del files  # in use until here
    sys.exit(code)

"""`postwire serve` with one more kind of provider: see `tests.support.line_vendor`."""

from __future__ import annotations

from types import MappingProxyType

from tests.support import line_vendor

from postwire import app
from postwire.cli import main
from postwire.providers import builtin


def run() -> None:
    """Serve."""
    kinds = MappingProxyType({**builtin.KINDS, "line": line_vendor.KIND})
    for module in (app, builtin):
        setattr(module, "KINDS", kinds)  # noqa: B010  mypy refuses the plain assignment
    main()

"""What every provider keeps to, whatever is behind it: `postwire.testing`, held against Postwire's own kinds.

A kind that is new to `builtin.KINDS` fails here until a file beside this one, named for it, has a class that plays its
vendor.
"""

from __future__ import annotations

import importlib

import pytest
from tests.support.line_vendor import LineConformance

from postwire.providers.base import Context, Provider
from postwire.providers.builtin import KINDS
from postwire.providers.mock import RATIOS, MockProvider, MockSettings
from postwire.testing import Answer, ProviderConformance


class TestMock(ProviderConformance):
    """It is its own vendor."""

    kind = "mock"
    declared = KINDS["mock"]
    answers = frozenset(Answer) - {Answer.CUT_OFF}
    observes = False
    restarts = False
    patience = 0.01

    made: MockProvider | None = None

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        self.made = MockProvider(context, MockSettings())
        self.made.prepare_update(self.changes)()
        return self.made

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        self.changes = {f"{one}_ratio": float(one == how.value) for one in RATIOS} | {
            "connect_error_ratio": float(how is Answer.UNREACHABLE),
            "misconfigured": how is Answer.MISCONFIGURED,
            "latency": 3600.0 if how is Answer.SILENCE else 0.001,
        }
        if self.made is not None:
            self.made.prepare_update(self.changes)()


class TestLine(LineConformance):
    """One that is over a network, whose counterpart does all that there is to be done."""


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "mock" and not KINDS.package(name)])
def test_every_kind_is_tried(kind: str) -> None:
    module = importlib.import_module(f"tests.conformance.test_{kind}")
    tried = [one for name, one in vars(module).items() if name.startswith("Test") and isinstance(one, type)]
    assert any(issubclass(one, ProviderConformance) and one.kind == kind for one in tried)

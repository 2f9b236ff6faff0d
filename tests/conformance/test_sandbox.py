"""The sandbox, held against what every provider keeps to. Recipients decide what fails, and not those of the suite."""

from __future__ import annotations

from postwire.providers.base import Context, Provider
from postwire.providers.builtin import KINDS
from postwire.providers.sandbox import SandboxProvider, SandboxSettings
from postwire.testing import Answer, ProviderConformance


class TestSandbox(ProviderConformance):
    """It is its own vendor."""

    kind = "sandbox"
    declared = KINDS["sandbox"]
    answers = frozenset({Answer.SUCCESS, Answer.SILENCE})
    observes = False
    restarts = False
    patience = 0.01

    made: SandboxProvider | None = None

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        self.made = SandboxProvider(context, self.settings)
        return self.made

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        self.settings = SandboxSettings(latency=3600.0 if how is Answer.SILENCE else 0.001)
        if self.made is not None:
            self.made.settings = self.settings

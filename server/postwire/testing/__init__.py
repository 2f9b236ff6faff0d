"""A suite of tests that every provider passes, for those who write one.

A test file of one's own has a class derived from `ProviderConformance`, which pytest collects like any other. It makes
the provider, and plays the vendor: something on this machine that answers in the ways that `Answer` names, and tells
what it was sent. Nothing is needed but pytest (`pip install 'postwire[server,testing]'`): coroutines run in a loop of
their own::

    from postwire.testing import Answer, ProviderConformance, Request

    class TestAcme(ProviderConformance):
        kind = "acme"
        declared = postwire_acme.KIND
        secrets = ("4711",)
        answers = frozenset(Answer) - {Answer.DEFERRED}  # Acme has no such answer

        def make(self, context):
            return postwire_acme.KIND.make(context, AcmeSettings(url=self.acme.url, token="4711"))

        async def start(self): ...    # start a server that answers as Acme does
        async def stop(self): ...     # stop it
        async def answer(self, how): ...  # have it answer like this from now on
        def received(self): ...       # what it was asked to send, as `Request`

Tests that do not apply, by what the class declares, are skipped and say why. docs/providers.md has an example in full.

The names here are public. Tests may be added in a minor release, where they hold providers to what
`postwire.providers.base` says.
"""

import pytest

# So that a failed assertion shows its values, as in a test file.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("attempts", "conformance", "harness")))

from postwire.testing.conformance import ProviderConformance  # noqa: E402
from postwire.testing.counterpart import Answer, BlackHole, Request  # noqa: E402

__all__ = ["Answer", "BlackHole", "ProviderConformance", "Request"]

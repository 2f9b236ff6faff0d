"""The listener for receipts, as the configuration has it. Without `receipts.listen`, nothing of it is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from postwire.clock import Clock
from postwire.config.receipts import RECEIPTS_TLS, ReceiptsConfig, missing_for
from postwire.config.tls import Certificates
from postwire.core.reference import References
from postwire.receipts.fetching import Fetcher
from postwire.receipts.readers import Readers
from postwire.receipts.reception import Keep, Reception, Refusals
from postwire.reload import Reloadable


class ReceiptEndpoint:
    """Takes calls of vendors from `start` to `stop`."""

    def __init__(
        self,
        config: ReceiptsConfig,
        certificates: Certificates | None,
        readers: Readers,
        references: References,
        *,
        keep: Keep,
        observer: Refusals,
        clock: Clock,
        on_fault: Callable[[Exception], None],
    ) -> None:
        """Without `certificates`, there is no TLS.

        Raises:
            ConfigError: what it takes is not installed, or cannot be done with those certificates.
        """
        if missing := missing_for(config):
            raise missing
        from postwire.http_connections import Listener
        from postwire.receipts.http import ReceiptApp

        self._address = config.listen
        self._readers = readers
        self._tls = None
        if certificates:
            from postwire.http_tls import HttpTls

            self._tls = HttpTls(certificates, config.tls, RECEIPTS_TLS, lambda config: config.receipts.tls)
        self._reception = Reception(
            readers, references, keep=keep, fetch=Fetcher(), observer=observer, on_fault=on_fault
        )
        app = ReceiptApp(self._reception, config.public_url or "", clock.wall)
        self._listener = Listener(app.app, self._tls.context if self._tls else None)

    @property
    def reloadables(self) -> Iterator[Reloadable]:
        """What can change while it serves."""
        yield from self._readers.reloadables
        if self._tls:
            yield self._tls.renewal.reloadable

    def listen(self) -> str:
        """See `Listener.listen_on`."""
        return self._listener.listen_on(self._address, "receipts.listen")

    def start(self) -> None:
        """Serve."""
        self._listener.start()

    def release(self) -> None:
        """Give the address back, if it is still held."""
        self._listener.release()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and answer those that are under way, in at most so many seconds."""
        await self._listener.stop(seconds)
        await self._reception.stop(seconds)

"""What the kinds that call AWS share: where a service is, with which credentials, and how a request is signed.

botocore finds the credentials and signs. Its clients are not used: they send a request again by themselves, and one
message may become several.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.outcome import Outcome
from postwire.providers.base import ProviderHealth
from postwire.providers.http.messages import HttpResponse, Signing
from postwire.providers.http.vendor import HttpSettings, VendorNotReady, health_by_status
from postwire.providers.http.verdicts import Table, account, throttled

# It logs what it signs, a session's token among it.
logging.getLogger("botocore.auth").setLevel(logging.WARNING)

COMMON: Final[Table] = MappingProxyType(
    {
        # https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html
        # https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html
        "ThrottlingException": throttled(),
        "AccessDeniedException": account("the key may not send"),
        "ExpiredTokenException": account("the session has expired"),
        "IncompleteSignature": account("the signature is not accepted"),
        "InvalidClientTokenId": account("the key is not accepted"),
        "RequestExpired": account("the signature is too old: set the machine's clock"),
        "SignatureDoesNotMatch": account("the secret is not accepted"),
        "UnrecognizedClientException": account("the key is not accepted"),
    }
)
"""What any service of AWS may answer."""


@dataclass(frozen=True, kw_only=True)  # without slots: kinds derive from several such classes
class AwsSettings(HttpSettings):
    """Keys of every such kind. Without a key of their own, credentials are where AWS's tools have them."""

    region: str = setting(help="The region, such as eu-west-1.")
    access_key_id: str | None = setting(None, help="An access key; by default, what AWS's tools would use.")
    secret_access_key: str | None = setting(None, help="Its secret.", secret=True)
    session_token: str | None = setting(None, help="The token of a session, where the key is temporary.", secret=True)
    base_url: Annotated[str, ORIGIN] | None = setting(
        None, help="Where the API is; by default, where AWS has it in the region."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]+", self.region):
            raise ValueError("region: is not a region such as eu-west-1")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id, secret_access_key: one is of no use without the other")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token: does nothing by itself, set access_key_id too")


class AwsService:
    """One service of AWS in one region: `endpoint` is the first part of its host, `name` what signatures call it."""

    def __init__(self, settings: AwsSettings, *, endpoint: str, name: str) -> None:
        self.base_url = settings.base_url or f"https://{endpoint}.{settings.region}.amazonaws.com"
        self._name, self._region = name, settings.region
        self._has_key = settings.access_key_id is not None
        self._frozen: Any = None
        self._credentials: Any = None
        self._preparing = asyncio.Lock()
        if settings.access_key_id is not None:
            self._frozen = Credentials(
                settings.access_key_id, settings.secret_access_key, settings.session_token
            ).get_frozen_credentials()

    async def prepare(self) -> None:
        """See `HttpVendor.prepare`: find the credentials, and again before they expire. That may read files, and ask
        services, so it is done in a thread.

        Raises:
            VendorNotReady: there are none.
        """
        if self._has_key:
            return
        if self._frozen is not None and not self._credentials.refresh_needed():
            return
        async with self._preparing:
            try:
                self._credentials, self._frozen = await asyncio.to_thread(_found, self._credentials)
            except LookupError:
                raise VendorNotReady("no AWS credentials were found") from None
            except Exception as error:  # botocore's are many
                raise VendorNotReady(f"AWS credentials cannot be had: {type(error).__name__}") from error

    def signing(self, method: str, url: str, headers: Mapping[str, str]) -> Signing:
        """How a request with these is signed, once its body is known."""
        credentials, name, region = self._frozen, self._name, self._region

        def signed(digest: bytes) -> Mapping[str, str]:
            request = AWSRequest(method, url, {**headers, "X-Amz-Content-SHA256": digest.hex()})
            SigV4Auth(credentials, name, region).add_auth(request)
            return dict(request.headers.items())

        return Signing(hashlib.sha256, signed)


def health_by_code(response: HttpResponse, code: str, table: Table) -> ProviderHealth:
    """What an answer to a probe says by its code, else by its status."""
    meaning = table.get(code)
    if meaning is not None and meaning.outcome is Outcome.MISCONFIGURED:
        return ProviderHealth(ok=False, detail=meaning.detail, misconfigured=True)
    return health_by_status(response)


def _found(credentials: Any) -> tuple[Any, Any]:
    """The credentials that AWS's tools would use, and what they are now."""
    import botocore.session  # by far the most of botocore, and needed by nobody who has set a key

    if credentials is None:
        credentials = botocore.session.Session().get_credentials()
    if credentials is None:
        raise LookupError
    if not hasattr(credentials, "refresh_needed"):
        credentials.refresh_needed = lambda: False
    return credentials, credentials.get_frozen_credentials()

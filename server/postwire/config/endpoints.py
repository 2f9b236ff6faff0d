"""Addresses in the configuration: what a server listens on, and what it calls."""

from __future__ import annotations

import ipaddress
import re

from postwire.config.types import HIDDEN, Refused, Unit

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LISTEN = "an address such as 127.0.0.1:50051, [::1]:50051 or unix:/run/postwire.sock"
_METRICS_LISTEN = 'an address such as 127.0.0.1:9464, or "" for none'
_ENDPOINT = "an address such as http://127.0.0.1:4317, without a user or a query"


def host_port(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:50051`, `localhost:0` or `[::1]:50051`, no brackets. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:/@]+)):([0-9]{1,5})", address)
    if not found or int(found[3]) > 65535 or not _is_host(found[1], found[2]):
        raise ValueError("not an address of the form host:port")
    return found[1] or found[2], int(found[3])


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a listener at `host:port`, or a socket of the file system."""
    if address.startswith("unix:"):
        return True
    host, _ = host_port(address)
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127\.[0-9.]+", host))


def host_name(text: str) -> str:
    """A name or an IPv4 address, or an IPv6 address in brackets, in lower case. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:/@]+))", text)
    if not found or not _is_host(found[1], found[2]):
        raise ValueError("not a name of a host")
    return text.lower()


def _is_host(in_brackets: str | None, name: str) -> bool:
    try:
        if in_brackets:
            return bool(ipaddress.IPv6Address(in_brackets))
        if re.fullmatch(r"[0-9.]+", name):
            return bool(ipaddress.IPv4Address(name))
    except ValueError:
        return False
    return bool(_HOST_NAME.fullmatch(name))


class Listen(Unit):
    """`host:port`, or a path that begins with `unix:/`."""

    def word(self, text: str) -> str:
        if not re.fullmatch(r"unix:/[^\0]+", text):
            host_port(text)
        return text


class ListenOrOff(Unit):
    """`host:port`, or nothing at all."""

    def word(self, text: str) -> str:
        if text:
            host_port(text)
        return text


class Endpoint(Unit):
    """An address of http or https, without anything that might be a secret."""

    def word(self, text: str) -> str:
        # People put tokens into addresses, so none is ever shown, and a place for a token is refused.
        # The scheme decides about TLS, so it has to be there.
        found = re.fullmatch(r"https?://([^/?#@]+)(/[^?#@]*)?", text)
        try:
            if not found:
                raise ValueError
            has_port = re.search(r":[0-9]+$", found[1])
            host_port(found[1] if has_port else f"{found[1]}:4317")
        except ValueError:
            raise Refused(HIDDEN, f"is not {self.wants}") from None
        return text


LISTEN = Listen(_LISTEN)
LISTEN_OR_OFF = ListenOrOff(_METRICS_LISTEN)
ENDPOINT = Endpoint(_ENDPOINT)


class WebAddress(Unit):
    """An address of http or https, with a path and a query if need be, and without a user or a fragment."""

    def word(self, text: str) -> str:
        found = re.fullmatch(r"https?://([^/?#@]+)([/?][!-~]*)?", text)
        try:
            if not found or "#" in text:
                raise ValueError
            host_port(found[1] if re.search(r":[0-9]+$", found[1]) else f"{found[1]}:443")
        except ValueError:
            raise Refused(HIDDEN, f"is not {self.wants}") from None  # people put tokens into addresses
        return text


class Origin(Unit):
    """Scheme, host and port of a service that is called over HTTP, without a slash at the end."""

    def word(self, text: str) -> str:
        found = re.fullmatch(r"(https?)://(.+?)/?", text, re.IGNORECASE)
        if not found or "/" in found[2] or "@" in found[2]:
            raise Refused(HIDDEN, f"is not {self.wants}")
        rest = found[2]
        host_port(rest if re.search(r":[0-9]+\Z", rest) and not rest.endswith("]") else f"{rest}:443")
        return f"{found[1].lower()}://{rest}"


WEB_ADDRESS = WebAddress("an address such as https://example.com/messages, without a user")
ORIGIN = Origin(
    "an address such as https://api.example.com or http://127.0.0.1:8080, without a path, a user or a query"
)


class PublicUrl(Unit):
    """An address of http or https under which others reach something here, with a path if need be.

    Its scheme and host are in lower case, and there is no slash at its end.
    """

    def word(self, text: str) -> str:
        found = re.fullmatch(r"(https?)://([^/?#@\s]+)((?:/[A-Za-z0-9._~-]+)*)/?", text, re.IGNORECASE)
        if not found:
            raise Refused(HIDDEN, f"is not {self.wants}")
        scheme, host, path = found.groups()
        host_port(host if re.search(r":[0-9]+\Z", host) and not host.endswith("]") else f"{host}:443")
        return f"{scheme.lower()}://{host.lower()}{path}"


PUBLIC_URL = PublicUrl("an address such as https://postwire.example.com, with a path if need be, and without a query")

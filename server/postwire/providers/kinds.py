"""The kinds of providers there are, by name: Postwire's own, and those that installed packages add.

A kind is imported when it is looked up, which the configuration does for those that it declares: nobody pays for the
libraries of a vendor that is not used, and a package that is broken is in nobody else's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from postwire.config.providers import UnusableKind, own_keys
from postwire.providers.base import Kind

GROUP: Final = "postwire.providers"
"""The group of entry points by which a package adds kinds. The entry point's name is the kind's."""


def _installed() -> Iterable[EntryPoint]:
    return entry_points(group=GROUP)


class Kinds(Mapping[str, Kind]):
    """See the module. Names are known without an import, and `in` asks for no more."""

    def __init__(self, built_in: Mapping[str, str], installed: Callable[[], Iterable[EntryPoint]] = _installed) -> None:
        """`built_in` has the values of entry points; `installed` is called once, when somebody first asks."""
        self._built_in = {name: EntryPoint(name, value, GROUP) for name, value in built_in.items()}
        self._installed = installed
        self._loaded: dict[str, Kind] = {}

    def __getitem__(self, name: str) -> Kind:
        """Return the kind, imported.

        Raises:
            KeyError: there is none of that name.
            UnusableKind: several have that name, or what it takes is not installed, or it is broken.
        """
        if name not in self._loaded:
            self._loaded[name] = _load(self._only(name))
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def package(self, name: str) -> str:
        """Return the package that adds the kind, with its version; empty for one of Postwire's own, or KeyError."""
        return _package(self._points[name][0])

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        """Those of each name, Postwire's own first."""
        found = {name: [point] for name, point in self._built_in.items()}
        for point in sorted(self._installed(), key=lambda one: (one.name, _package(one))):
            found.setdefault(point.name, []).append(point)
        return found

    def _only(self, name: str) -> EntryPoint:
        first, *others = self._points[name]
        if not others:
            return first
        if name in self._built_in:
            packages = ", ".join(map(_package, others))
            raise UnusableKind(f"is a kind of Postwire's own, and of a package as well: uninstall {packages}")
        packages = ", ".join(map(_package, (first, *others)))
        raise UnusableKind(f"is a kind of several packages: uninstall all but one of {packages}")


def _load(point: EntryPoint) -> Kind:
    source = f"of the package {package}" if (package := _package(point)) else "of Postwire's own"
    try:
        kind = point.load()
    except ImportError as error:
        raise UnusableKind(f"cannot be imported ({error}): {_remedy(point)}") from error
    except Exception as error:  # a module runs whatever it likes
        raise UnusableKind(f"{source} cannot be imported ({type(error).__name__}: {error}): mend it") from error
    if not isinstance(kind, Kind):
        raise UnusableKind(f"{source} is broken: {point.value} must be a Kind of postwire.providers.base")
    try:
        own_keys(kind.settings)
    except TypeError as error:
        raise UnusableKind(f"{source} is broken: {error}") from error
    return kind


def _remedy(point: EntryPoint) -> str:
    """What to install where a module is missing."""
    if point.dist is not None:
        return f"install {point.dist.name} again, with all that it requires"
    (extra,) = point.extras or ["server"]
    return f"pip install 'postwire[{extra}]'"


def _package(point: EntryPoint) -> str:
    """The package of an entry point, with its version; empty for one of Postwire's own."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else ""

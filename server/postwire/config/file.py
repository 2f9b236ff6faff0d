"""The configuration's file: where it is, and what is in it as TOML.

Without the checks of all that it may say, for commands that want no more than an address.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from postwire.config.bind import ConfigError, bind
from postwire.config.endpoints import LISTEN

DEFAULT_FILE: Final = "postwire.toml"


@dataclass(frozen=True, slots=True)
class _Listener:
    listen: Annotated[str, LISTEN]


def default_listen(cwd: Path | None = None) -> str | None:
    """`server.listen` of postwire.toml in `cwd`, where there is such a file that says it. Raises ConfigError."""
    _, table = read_file(None, cwd or Path())
    server = table.get("server", {})
    if not isinstance(server, Mapping) or "listen" not in server:
        return None
    return bind(_Listener, {"listen": server["listen"]}, ("server",)).listen


def read_file(path: Path | None, cwd: Path) -> tuple[Path | None, dict[str, Any]]:
    """The file at `path`, or postwire.toml in `cwd` if there is one, and its table. Raises ConfigError."""
    file = cwd / (path or DEFAULT_FILE)
    try:
        # Some editors put a byte order mark in front; TOML knows none, so it is taken off.
        return file, tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if path is None:
            return None, {}
        raise ConfigError(str(file), "does not exist, give the path of a TOML file") from None
    except IsADirectoryError:
        raise ConfigError(str(file), "is a directory, give the path of a TOML file") from None
    except OSError as wrong:
        raise ConfigError(str(file), f"cannot be read ({wrong.strerror}), make it readable") from None
    except UnicodeDecodeError as wrong:
        raise ConfigError(str(file), f"is not UTF-8 at byte {wrong.start}, save it as UTF-8") from None
    except (ValueError, RecursionError) as wrong:
        raise ConfigError(str(file), f"is not valid TOML: {wrong}") from None

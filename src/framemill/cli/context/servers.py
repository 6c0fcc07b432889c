"""The file that remembers servers and their API keys; ``framemill login`` writes it, ``framemill logout`` clears it.

A key belongs to the address it was stored for, so no other server ever receives it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Servers:
    """Remembered servers."""

    #: Address that commands call without ``--url``; empty: none was chosen.
    default: str = ""
    #: Address → API key; empty for a server without keys.
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def with_server(self, url: str, key: str) -> Servers:
        """Return these servers with ``url`` as the default."""
        return Servers(url, {**self.keys, url: key})

    def without(self, url: str) -> Servers:
        """Return these servers without ``url``."""
        keys = {name: key for name, key in self.keys.items() if name != url}
        return Servers("" if self.default == url else self.default, keys)


def file() -> Path:
    """Return the path of the file: below ``$XDG_CONFIG_HOME``, else below ``~/.config``."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return folder / "framemill" / "servers.json"


def load() -> Servers:
    """Read the file; no file is no servers. Raises: ValueError: the file is damaged."""
    path = file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Servers(str(content.get("default", "")), {str(url): str(key) for url, key in content["keys"].items()})
    except (FileNotFoundError, NotADirectoryError):
        return Servers()
    except (ValueError, KeyError, AttributeError):
        raise ValueError(f"{path} is damaged: delete it, then run 'framemill login' again") from None


def save(servers: Servers) -> Path:
    """Replace the file atomically; only its owner can read it. Returns its path. Raises: OSError."""
    path = file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as output:
            json.dump({"default": servers.default, "keys": dict(servers.keys)}, output, indent=2)
            output.write("\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def is_private() -> bool:
    """Return whether nobody but its owner can read the file. A missing file is private."""
    try:
        return not stat.S_IMODE(file().stat().st_mode) & 0o077
    except OSError:
        return True

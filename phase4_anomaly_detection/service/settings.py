"""What a service is told at its start."""

import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ConfigError
from common.sandbox.levels import ISOLATIONS

LEAST_TOKEN_CHARS = 16
_LIMITS = {"port": (0, 65535), "max_bytes": (1, 1 << 30), "batch_size": (1, 1 << 16), "batch_wait_s": (0, 0.010)}
_LIMITS |= {"max_waiting": (1, 1 << 20), "head_s": (0.01, 3600), "body_s": (0.01, 3600), "drain_s": (0, 3600)}
_LIMITS |= {"max_windows": (1, 1 << 20), "verify_s": (1, 3600)}


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """`token` is asked of every request but those for the page, the health and the description, where there is one.

    `batch_size` is of what the pipeline is given at a time, which reads texts of like length together: the more it can
    choose from, the less padding it reads. `max_waiting` bounds the requests under way, and connections without one;
    `head_s` and `body_s` bound the time that the head and the body of a request may take to arrive, `drain_s` the time
    that requests under way get after SIGTERM, `max_windows` the windows that a long text is read in. `verify` offers
    verification, of at most `verify_s` seconds each, isolated by `sandbox`.

    Raises: ConfigError, above all for a host that others can reach and no token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    max_bytes: int = 1_000_000
    batch_size: int = 64
    batch_wait_s: float = 0.010
    max_waiting: int = 4096
    head_s: float = 10.0
    body_s: float = 30.0
    drain_s: float = 30.0
    max_windows: int = 64
    verify: bool = False
    verify_s: float = 60.0
    sandbox: str = "auto"
    log_code: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}\nGive {least} to {most}")
        if self.sandbox not in ISOLATIONS:
            raise ConfigError(f"--sandbox is '{self.sandbox}'\nGive one of: {', '.join(ISOLATIONS)}")
        if self.token is None and not self.on_loopback:
            raise ConfigError(
                f"--host is {self.host}, which other machines can reach, and there is no token\n"
                f"Write a secret into a file that only you can read, and give it with --token-file FILE; "
                f"or serve this machine alone with --host 127.0.0.1"
            )

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: by every address that the name has."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)} if host else set()
        return bool(addresses) and all(ipaddress.ip_address(address).is_loopback for address in addresses)
    except (OSError, ValueError):
        return False


def read_token(path: Path | None) -> str | None:
    """The token in a file, without the white space around it. Raises: ConfigError."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {path} cannot be read: {error}\nGive a file that holds one token") from error
    if len(token) < LEAST_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"--token-file {path} holds no token: one word of at least {LEAST_TOKEN_CHARS} ASCII characters\n"
            f"Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > {path}"
        )
    return token


def others_can_read(path: Path) -> bool:
    """Whether the file's mode lets other users of this machine read it."""
    return bool(os.stat(path).st_mode & 0o044)

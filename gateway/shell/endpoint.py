"""Where the broker is: `mqtt://host:1883` or `mqtts://host:8883`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.core.errors import PeerError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, a port and, for `mqtts`, how its certificate is checked."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str, ca_file: Path | None = None) -> Endpoint:
        """`ca_file` (PEM) replaces the system's authorities for `mqtts`.

        Raises:
            PeerError: `broker-url-invalid`, `broker-ca-unreadable`.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        strange = parts.scheme not in ("mqtt", "mqtts") or parts.username or parts.path.strip("/")
        if strange or not parts.hostname:
            detail = "The broker's url must be mqtt://host:port or mqtts://host:port."
            raise PeerError("broker-url-invalid", detail)
        if parts.scheme == "mqtt":
            return cls(parts.hostname, port or 1883, None)
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError:
            raise PeerError("broker-ca-unreadable", f"{ca_file} holds no certificate we can read.") from None
        return cls(parts.hostname, port or 8883, context)

"""What a store believes: whose signatures, for which store, and which web addresses are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Trust:
    """`keys` are the check-in tokens' public keys by key id. `issuers` of None means that any issuer will
    do, the key being proof enough. `hosts` are the web hosts whose `/hello/…` addresses are ours, in lower
    case, with `:port` where it is not 443."""

    store: str
    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    issuers: frozenset[str] | None = None
    hosts: frozenset[str] = frozenset()

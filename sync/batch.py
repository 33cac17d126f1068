"""What the platform pulls: cursors that cannot be made up, and signed, contiguous ranges of the log.

Pure. The exact bytes that are hashed and signed are written down in README.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.core import chain
from gateway.core.chain import Sealed
from gateway.core.codec import canonical
from gateway.core.errors import PeerError, Refused

SIGNED = ("store", "epoch", "first_seq", "last_seq", "prev_hash", "hash", "count")
FIELDS = (
    *("store", "epoch", "first_seq", "last_seq", "count", "prev_hash", "hash"),
    *("events", "next", "high_water", "signature", "key_id"),
)

Position = tuple[int, str]
"""How far a reader has come: the last event's seq, and its hash."""

_MAC_BYTES = 16
_MAX_CURSOR = 512


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a store's log: after event `seq`."""

    store: str
    epoch: str
    seq: int

    def encode(self, key: bytes) -> str:
        """Opaque text (base64url), authenticated with HMAC-SHA256 cut to 128 bits."""
        place = canonical([self.store, self.epoch, self.seq])
        return base64url(_mac(key, place) + place)

    @classmethod
    def decode(cls, text: str, key: bytes, *, store: str, epoch: str) -> Cursor:
        """The cursor of this store and epoch in `text`.

        Raises:
            Refused: `cursor-invalid` when it was not made with `key` or is another store's,
                `cursor-of-another-epoch` when the log has been made anew or restored since.
        """
        cursor = _authentic(text, key)
        if cursor is None or cursor.store != store:
            raise Refused("cursor-invalid", "The cursor is not one that this store gave: pull without one.")
        if cursor.epoch != epoch:
            raise Refused(
                "cursor-of-another-epoch",
                f"The store's log was made anew or restored and is now in epoch {epoch}: "
                "pull without a cursor and compare.",
            )
        return cursor


def build(
    *,
    store: str,
    epoch: str,
    events: Sequence[Sealed],
    after: Position,
    following: str,
    high_water: int,
    sign: Callable[[bytes], bytes],
    key_id: str,
) -> dict[str, Any]:
    """A batch of `events`, which follow `after`, as in the contract; `events` in it are the stored bytes.

    `following` is the cursor to pull with next, `high_water` the newest event's seq, `sign` makes an
    Ed25519 signature (64 bytes).
    """
    seq, digest = after
    header: dict[str, Any] = {
        "store": store,
        "epoch": epoch,
        "first_seq": events[0].seq if events else seq + 1,
        "last_seq": events[-1].seq if events else seq,
        "count": len(events),
        "prev_hash": events[0].prev_hash if events else digest,
        "hash": events[-1].hash if events else digest,
    }
    return {
        **header,
        "events": [event.body for event in events],
        "next": following,
        "high_water": high_water,
        "signature": base64url(sign(signed_bytes(header))),
        "key_id": key_id,
    }


def signed_bytes(batch: Mapping[str, Any]) -> bytes:
    """What the signature covers: the canonical JSON of the fields `SIGNED`.

    Raises:
        KeyError: a field is missing.
    """
    return canonical({name: batch[name] for name in SIGNED})


def verify(batch: Mapping[str, Any], public_key: Ed25519PublicKey, after: Position | None) -> Position:
    """Check a pulled batch and say how far it goes. `events` may be bytes or parsed objects.

    `after` is what the last batch gave; None at the very first pull, when any beginning is accepted.

    Raises:
        PeerError: `batch-malformed`, `batch-signature-wrong`, `batch-gap` (events are missing),
            `batch-overlap` (events we have), `batch-forked` (it does not follow what we have),
            `batch-count-wrong`, `batch-chain-broken`.
    """
    try:
        _check_signature(batch, public_key)
        _check_place(batch, after)
        _check_chain(batch)
        return batch["last_seq"], batch["hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PeerError(
            "batch-malformed", f"The batch is not as the contract says ({type(error).__name__}: {error})."
        ) from error


def base64url(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of `base64url`'s one spelling.

    Raises:
        ValueError: it is not base64url, is padded, or has stray bits at its end.
    """
    raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if base64url(raw) != text:
        raise ValueError("not the canonical base64url")
    return raw


def _mac(key: bytes, place: bytes) -> bytes:
    return hmac.digest(key, b"soglia-cursor-v1\n" + place, hashlib.sha256)[:_MAC_BYTES]


def _authentic(text: str, key: bytes) -> Cursor | None:
    if len(text) > _MAX_CURSOR:
        return None
    try:
        raw = from_base64url(text)
    except (ValueError, binascii.Error):
        return None
    place = raw[_MAC_BYTES:]
    if not hmac.compare_digest(raw[:_MAC_BYTES], _mac(key, place)):
        return None
    return Cursor(*json.loads(place))


def _check_signature(batch: Mapping[str, Any], public_key: Ed25519PublicKey) -> None:
    try:
        public_key.verify(from_base64url(batch["signature"]), signed_bytes(batch))
    except InvalidSignature as error:
        raise PeerError(
            "batch-signature-wrong",
            "The batch was not signed with the store's key: compare the key, and who answers at its address.",
        ) from error


def _check_place(batch: Mapping[str, Any], after: Position | None) -> None:
    if after is None:
        return
    first, prev_hash = batch["first_seq"], batch["prev_hash"]
    if first > after[0] + 1:
        raise PeerError("batch-gap", f"Events {after[0] + 1} to {first - 1} are missing: pull them again.")
    if first <= after[0]:
        raise PeerError("batch-overlap", f"Events up to {after[0]} are here already: pull after them.")
    if prev_hash != after[1]:
        raise PeerError(
            "batch-forked",
            f"Event {first} does not follow the event {after[0]} that is here: the store's log was replaced.",
        )


def _check_chain(batch: Mapping[str, Any]) -> None:
    events = batch["events"]
    if not batch["count"] == len(events) == batch["last_seq"] - batch["first_seq"] + 1:
        raise PeerError("batch-count-wrong", "The batch holds more or fewer events than it says: pull again.")
    digest = batch["prev_hash"]
    for seq, event in enumerate(events, batch["first_seq"]):
        digest = _next_hash(digest, event, seq)
        if digest is None:
            raise PeerError("batch-chain-broken", f"Event {seq} is not what was sealed: pull again.")
    if digest != batch["hash"]:
        raise PeerError("batch-chain-broken", "The events do not end in the batch's hash: pull again.")


def _next_hash(prev_hash: str, event: bytes | dict[str, Any], seq: int) -> str | None:
    if isinstance(event, bytes):
        computed, cloud_event = chain.hash_of(prev_hash, event), json.loads(event)
    else:
        computed, cloud_event = chain.rehash(prev_hash, event), event
    return computed if cloud_event["hash"] == computed and cloud_event["sequence"] == seq else None

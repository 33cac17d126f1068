"""An event's exact bytes, and the hash chain that ties each to the one before.

The stored body is the CloudEvent (1.0, structured JSON) in canonical form. Its `hash` attribute is

    SHA-256( prev_hash as 64 ASCII hex digits + "\\n" + the same canonical JSON without `hash` )

and the first event's `prev_hash` is `genesis(store, epoch)`. A stranger verifies a batch by taking `hash`
out of each event, writing the rest as canonical JSON and hashing: see sync/README.md.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway.core.codec import canonical, restore, rfc3339
from gateway.core.events import TYPES, Event
from gateway.core.writer import quoted, written

_HEAD = '{"data":'
_CONTENT_TYPE = ',"datacontenttype":"application/json"'
_MARK = ',"hash":"'
_DIGITS = 64
_TIME = ',"time":"'
_TYPE = '","type":"'
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Sealed:
    """An event as it stands in the log: `body` is what the platform gets, byte for byte."""

    seq: int
    type: str
    prev_hash: str
    hash: str
    body: bytes

    @cached_property
    def event(self) -> Event:
        """The event itself, decoded when first asked for.

        Raises:
            ValueError, KeyError, TypeError: see `unseal`.
        """
        return unseal(self.body)


def genesis(store: str, epoch: str) -> str:
    """The `prev_hash` of a log's first event: SHA-256 of `soglia/{store}/{epoch}`, in hex."""
    return hashlib.sha256(f"soglia/{store}/{epoch}".encode()).hexdigest()


def seal(event: Event, *, seq: int, prev_hash: str, store: str, epoch: str) -> Sealed:
    """Fix an event's bytes and its place in the chain."""
    name = event.type_name()
    head = _HEAD + written(event, "at") + _CONTENT_TYPE
    tail = (
        f',"id":"{epoch}.{seq}","sequence":{seq},"source":"soglia/{store}","specversion":"1.0"'
        f',"subject":{quoted(event.subject)},"time":"{rfc3339(event.at)}","type":"{name}"}}'
    )
    digest = hashlib.sha256(f"{prev_hash}\n{head}{tail}".encode()).hexdigest()
    body = f'{head}{_MARK}{digest}"{tail}'.encode()
    sealed = Sealed(seq, name, prev_hash, digest, body)
    sealed.__dict__["event"] = event  # what `cached_property` would decode again
    return sealed


def rehash(prev_hash: str, cloud_event: dict[str, Any]) -> str:
    """The hash that a CloudEvent taken from a batch must carry, given its predecessor's."""
    bare = {key: value for key, value in cloud_event.items() if key != "hash"}
    return hashlib.sha256(prev_hash.encode() + b"\n" + canonical(bare)).hexdigest()


def _cut(body: bytes) -> tuple[int, int]:
    """Where a stored body's `hash` attribute begins and ends.

    It is the last such text: what follows holds no object, and in a string a quote is always escaped.
    """
    begin = body.rindex(_MARK.encode())
    return begin, begin + len(_MARK) + _DIGITS + 1


def hash_of(prev_hash: str, body: bytes) -> str:
    """The hash that a stored body must carry, given its predecessor's: over the bytes, so that none may differ.

    Raises:
        ValueError: the body has no `hash`.
    """
    begin, end = _cut(body)
    return hashlib.sha256(b"%s\n%s%s" % (prev_hash.encode(), body[:begin], body[end:])).hexdigest()


def intact(one: Sealed, prev_hash: str) -> bool:
    """Whether a stored event is what was sealed after the event with `prev_hash`."""
    try:
        begin, end = _cut(one.body)
        computed = hash_of(prev_hash, one.body)
    except ValueError:
        return False
    tail = one.body[end:]
    return (
        one.prev_hash == prev_hash
        and one.hash == computed
        and one.body[begin:end] == f'{_MARK}{computed}"'.encode()
        and f',"sequence":{one.seq},"source":"'.encode() in tail
        and tail.endswith(f',"type":"{one.type}"}}'.encode())
    )


def unseal(body: bytes) -> Event:
    """The event in a stored body. It relies on the order of `seal`'s attributes: a replay's time is spent here.

    Raises:
        ValueError, KeyError, TypeError: the body is not one of ours, or of a type this version does not know.
    """
    text = body.decode()
    data, _ = _DECODER.raw_decode(text, len(_HEAD))
    time, type_name = text[text.rindex(_TIME) + len(_TIME) : -2].split(_TYPE)
    data["at"] = time
    event = restore(TYPES[type_name], data)
    assert isinstance(event, Event)
    return event

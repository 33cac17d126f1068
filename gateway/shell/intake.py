"""One way in for every read: parse, decode, ask the directory, submit.

Whatever is wrong with a read ends as a refused receipt with a reason, counted in the log; what cannot even be
attributed to a read (no id) is kept in the quarantine. Nothing that arrives here can stop the ones behind it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol

from gateway.core import commands as cmd
from gateway.core.codec import canonical
from gateway.core.errors import DecodeError, Refused
from gateway.core.model import Credential, Finding, Read, Technology, is_id
from gateway.core.receipts import Outcome, Receipt
from gateway.shell.records import parse_time
from gateway.shell.strict_json import load_object

READ_TYPE = "soglia.read.v1"
COMMAND_TYPE = "soglia.command.v1"
MOST_BYTES = 64 * 1024

Decode = Callable[[Read, datetime], Sequence[Credential]]
Find = Callable[[Sequence[Credential], datetime], Finding]
Submit = Callable[[cmd.Command, bytes], "Future[Receipt]"]


class Quarantine(Protocol):
    """Where what nobody can answer is kept for a look."""

    def __call__(self, source: str, line: int, problem: str, raw: bytes, at: datetime) -> None: ...


class Malformed(Refused):
    """A message that is not a read or command of ours; `id` is its own id when it has a usable one."""

    def __init__(self, reason: str, detail: str, id: str | None = None) -> None:  # noqa: A002 the field's own name
        super().__init__(reason, detail)
        self.id = id


class Intake:
    """Turns reads into commands. `zone_of` says in which zone a reader is; None for one we do not know."""

    def __init__(
        self,
        *,
        zone_of: Callable[[str], str | None],
        decode: Decode,
        find: Find,
        submit: Submit,
        now: Callable[[], datetime],
        quarantine: Quarantine,
        key: bytes,
    ) -> None:
        self._zone_of = zone_of
        self._decode = decode
        self._find = find
        self._submit = submit
        self._now = now
        self._quarantine = quarantine
        self._key = key
        self.passed_over = 0

    def read(self, read: Read) -> Future[Receipt]:
        """Submit a read; the future resolves after the commit."""
        if read.technology is Technology.BLE:
            return self._pass_over(read)
        at, said = self._now(), canonical({"technology": read.technology.value, "data": dict(read.data)})
        zone = self._zone_of(read.reader)
        if zone is None:
            return self.refuse(read, "unknown-reader", said)
        try:
            finding = self._find(self._decode(read, at), at)
        except DecodeError as error:
            return self.refuse(read, error.reason, said)
        command = cmd.RecordRead(
            id=read_command(read.reader, read.id),
            at=at,
            read=read.id,
            reader=read.reader,
            zone=zone,
            technology=read.technology,
            finding=finding,
            read_time=read.time,
        )
        return self._submit(command, said)

    def _pass_over(self, read: Read) -> Future[Receipt]:
        """An advert: nobody's beacon is enrolled in this release, and a stranger's must not reach the disk."""
        self.passed_over += 1
        receipt: Future[Receipt] = Future()
        name = read_command(read.reader, read.id)
        receipt.set_result(Receipt(name, Outcome.ACCEPTED, "not-enrolled"))
        return receipt

    def refuse(self, read: Read, reason: str, said: bytes | None = None) -> Future[Receipt]:
        """Have a read refused and counted."""
        said = said or canonical({"technology": read.technology.value, "data": dict(read.data)})
        return self._refuse(read.reader, read.id, read.technology.value, reason, said)

    def refuse_malformed(self, reader: str, payload: bytes, error: Malformed) -> Future[Receipt]:
        """Have a message that is no read refused and counted; without an id of its own it is quarantined."""
        if error.id is not None:
            return self._refuse(reader, error.id, "unknown", error.reason, payload)
        self._quarantine(
            f"mqtt:readers/{reader}", 0, f"{error.detail} [{error.reason}]", payload, self._now()
        )
        # The payload's keyed hash stands in for the id, so that a redelivery is counted once.
        stand_in = "malformed." + hmac.digest(self._key, payload, "sha256").hex()[:32]
        return self._refuse(reader, stand_in, "unknown", error.reason, payload)

    def _refuse(self, reader: str, read: str, technology: str, reason: str, said: bytes) -> Future[Receipt]:
        command = cmd.RefuseRead(
            id=read_command(reader, read),
            at=self._now(),
            read=read,
            reader=reader,
            technology=technology,
            reason=reason,
            zone=self._zone_of(reader),
        )
        return self._submit(command, said)


def read_command(reader: str, read: str) -> str:
    """The command id of a read."""
    return f"read:{reader}:{read}"


def parse_read(payload: bytes, reader: str, store: str) -> Read:
    """A read event as it comes over MQTT or HTTP, from `reader`.

    Raises:
        Malformed: it is not one; `id` is set where the message has one, so that it can be answered.
    """
    event, name = _cloud_event(payload, READ_TYPE)
    if event.get("source") != (wanted := f"soglia/{store}/readers/{reader}"):
        raise Malformed("foreign-source", f"source must be {wanted}.", name)
    fields = event["data"]
    try:
        technology = Technology(fields.get("technology"))
    except ValueError:
        known = ", ".join(Technology)
        raise Malformed("unknown-technology", f"data.technology must be one of {known}.", name) from None
    rest = {key: value for key, value in fields.items() if key != "technology"}
    return Read(name, reader, technology, rest, _time(event, name))


def parse_command(payload: bytes, clerk: str, at: datetime) -> cmd.ClerkAction:
    """A clerk's command as it comes over MQTT.

    Raises:
        Malformed: it is not one.
    """
    event, name = _cloud_event(payload, COMMAND_TYPE)
    return clerk_action(clerk, name, event["data"], at)


def clerk_action(clerk: str, name: str, fields: Mapping[str, Any], at: datetime) -> cmd.ClerkAction:
    """A clerk's command from its fields, over MQTT or HTTP.

    Raises:
        Malformed: a field is missing or of the wrong type.
    """
    texts = {key: fields.get(key) for key in ("visit", "action", "alert", "outcome", "to", "reason")}
    for key, value in texts.items():
        if value is None and key not in ("visit", "action"):
            continue
        if key in ("outcome", "reason"):
            if not isinstance(value, str) or not 0 < len(value) <= 500:
                raise Malformed("malformed", f"data.{key} must be a text of 1 to 500 characters.", name)
        elif not isinstance(value, str) or not is_id(value):
            raise Malformed(
                "malformed", f"data.{key} must be 1 to 128 characters of A-Z a-z 0-9 . _ : -", name
            )
    return cmd.ClerkAction(id=f"cmd:{clerk}:{name}", at=at, clerk=clerk, **texts)  # type: ignore[arg-type] # checked above


def _cloud_event(payload: bytes, wanted: str) -> tuple[dict[str, Any], str]:
    if len(payload) > MOST_BYTES:
        raise Malformed("too-large", f"a message may have {MOST_BYTES} bytes, this one has {len(payload)}.")
    try:
        event = load_object(payload)
    except ValueError as error:
        raise Malformed("not-json", f"this is not JSON: {error}.") from None
    name = event.get("id")
    if not isinstance(name, str) or not is_id(name):
        raise Malformed("bad-id", "id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    if event.get("specversion") != "1.0" or event.get("type") != wanted:
        raise Malformed("not-an-event", f"specversion must be 1.0 and type {wanted}.", name)
    if not isinstance(event.get("data"), dict):
        raise Malformed("malformed", "data must be an object.", name)
    return event, name


def _time(event: Mapping[str, Any], name: str) -> datetime | None:
    if event.get("time") is None:
        return None
    try:
        return parse_time(event["time"])
    except ValueError as error:
        raise Malformed("malformed", f"time is {error}.", name) from None

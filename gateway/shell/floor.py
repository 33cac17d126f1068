"""The store's MQTT, wired to the engine: reads and commands in, receipts out.

A message is acknowledged to the broker only when its command has been committed, or when it has been refused and
that has been committed. What the engine could not take (it is stopping) is not acknowledged and comes again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from gateway.core import commands as cmd
from gateway.core.codec import canonical, rfc3339
from gateway.core.receipts import Outcome, Receipt
from gateway.shell.broker import Broker, Delivery, Message
from gateway.shell.intake import Intake, Malformed, Submit, parse_command, parse_read
from gateway.shell.strict_json import load_object

SUBSCRIPTIONS = ("readers/+/reads", "readers/+/status", "clerks/+/commands")
RECEIPT_TYPE = "soglia.receipt.v1"


class Floor:
    """Handles what comes in over MQTT. `on_message` runs on the connection's thread and never blocks for long."""

    def __init__(
        self, store: str, broker: Broker, intake: Intake, submit: Submit, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._broker = broker
        self._intake = intake
        self._submit = submit
        self._now = now
        self._lock = threading.Lock()
        self.malformed = 0

    def on_message(self, delivery: Delivery) -> None:
        """Take one message."""
        kind, _, rest = delivery.topic.partition("/")
        name, _, leaf = rest.rpartition("/")
        if (kind, leaf) == ("readers", "reads"):
            self._read(name, delivery)
        elif (kind, leaf) == ("clerks", "commands"):
            self._command(name, delivery)
        elif (kind, leaf) == ("readers", "status"):
            self._status(name, delivery)
        else:
            delivery.ack()

    def _read(self, reader: str, delivery: Delivery) -> None:
        try:
            read = parse_read(delivery.payload, reader, self._store)
            name, wants_receipt = read.id, read.technology.value != "ble"
            retained = delivery.retain
            receipt = self._intake.refuse(read, "retained") if retained else self._intake.read(read)
        except Malformed as error:
            self._count_malformed()
            name, wants_receipt = error.id or "", error.id is not None
            receipt = self._intake.refuse_malformed(reader, delivery.payload, error)
        receipt.add_done_callback(lambda done: self._answer_read(reader, name, wants_receipt, delivery, done))

    def _answer_read(
        self, reader: str, name: str, wants: bool, delivery: Delivery, done: Future[Receipt]
    ) -> None:
        receipt = done.result()
        if receipt.reason == "busy":
            return
        if wants or (name and receipt.final.outcome is Outcome.REFUSED):
            told = {"read": name, **told_of(receipt)}
            self._publish(f"readers/{reader}/receipts", f"receipt.{name}", told)
        delivery.ack()

    def _command(self, clerk: str, delivery: Delivery) -> None:
        try:
            command = parse_command(delivery.payload, clerk, self._now())
        except Malformed as error:
            self._count_malformed()
            told = {"outcome": "refused", "reason": error.reason, "detail": error.detail}
            name = error.id or "malformed"
            self._publish(f"clerks/{clerk}/receipts", f"receipt.{name}", {"command": name, **told})
            delivery.ack()
            return
        name = command.id.removeprefix(f"cmd:{clerk}:")
        said = canonical(load_object(delivery.payload)["data"])
        self._submit(command, said).add_done_callback(
            lambda done: self._answer_command(clerk, name, delivery, done)
        )

    def _answer_command(self, clerk: str, name: str, delivery: Delivery, done: Future[Receipt]) -> None:
        receipt = done.result()
        if receipt.reason == "busy":
            return
        told = {"command": name, **told_of(receipt)}
        self._publish(f"clerks/{clerk}/receipts", f"receipt.{name}", told)
        delivery.ack()

    def _status(self, reader: str, delivery: Delivery) -> None:
        try:
            said = load_object(delivery.payload)
            body = said.get("data", said)
            online = body.get("online") if isinstance(body, dict) else None
        except ValueError:
            online = None
        if not isinstance(online, bool):
            self._count_malformed()
            delivery.ack()
            return
        now = self._now()
        reason = None if online else "offline"
        name = f"dev:{reader}:{int(now.timestamp() * 1e6)}"
        command = cmd.ReportReader(id=name, at=now, reader=reader, lost=not online, reason=reason)
        self._submit(command, b"").add_done_callback(lambda done: delivery.ack())

    def _publish(self, topic: str, name: str, data: dict[str, Any]) -> None:
        event = {
            "specversion": "1.0",
            "id": name[:200],
            "source": f"soglia/{self._store}",
            "type": RECEIPT_TYPE,
            "time": rfc3339(self._now()),
            "datacontenttype": "application/json",
            "data": data,
        }
        # Where the link is down the receipt is lost, and the sender's repetition is answered `repeated`.
        self._broker.publish(Message(topic, canonical(event)))

    def _count_malformed(self) -> None:
        with self._lock:
            self.malformed += 1


def told_of(receipt: Receipt) -> dict[str, Any]:
    """A receipt's fields as the contract has them."""
    told: dict[str, Any] = {"outcome": receipt.outcome.value}
    if receipt.reason is not None:
        told["reason"] = receipt.reason
    if receipt.detail is not None:
        told["detail"] = receipt.detail
    if receipt.seq is not None:
        told["seq"] = receipt.seq
    if receipt.first is not None:
        told["first"] = {"outcome": receipt.first.outcome.value}
        if receipt.first.reason is not None:
            told["first"]["reason"] = receipt.first.reason
    return told

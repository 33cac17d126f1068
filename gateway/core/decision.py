"""What `decide` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.events import Event
from gateway.core.receipts import Outcome


@dataclass(frozen=True, slots=True)
class Decision:
    """The events to be committed, and what the caller is then told.

    A refused read has an event as well (it is counted), which changes nothing that matters; every other
    refusal has none.
    """

    events: tuple[Event, ...] = field(default=())
    outcome: Outcome = Outcome.ACCEPTED
    reason: str | None = None
    detail: str | None = None


def accepted(*events: Event, reason: str | None = None) -> Decision:
    """Yes, and this is what happened."""
    return Decision(events, reason=reason)


def refused(reason: str, detail: str, *events: Event) -> Decision:
    """No, and why."""
    return Decision(events, Outcome.REFUSED, reason, detail)

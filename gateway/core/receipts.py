"""The answer to a command, which exists only after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class First:
    """What the first submission of a repeated command was told."""

    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """`seq` is the last event's; `first` is set when `outcome` is repeated."""

    command: str
    outcome: Outcome
    reason: str | None = None
    detail: str | None = None
    seq: int | None = None
    first: First | None = None

    @property
    def final(self) -> First:
        """The outcome that counts: the first one's where this is a repeat."""
        return self.first or First(self.outcome, self.reason)

"""A day at the door, told in a small language and played against the pure core.

A story is a text file. Lines that begin with `#` are for people. A block is one or more orders, a line `----`, and
what the core answered, up to the next empty line:

    at 09:58:10
    read qr token=a-1
    ----
    read accepted
      visit.opened visit-1 match=expected ...
      > clerks/marco/alerts alert alert-1 level=clerk attempt=1

`read accepted` is the command's receipt; below it stand its events and, with `>`, the messages to the floor. Ids that
derive from hashes appear as `visit-1`, `alert-1`, in order of appearance. All times are of one day, in UTC.

| order | what it does |
|---|---|
| `at 10:00:05`, `wait 5s` | time passes; every deadline on the way is met by its tick |
| `asleep 10:30`, `asleep +600s` | time passes and the gateway is off; the next order finds what is overdue |
| `appointment ID visitor= clerk= start= end= …` | the directory and the log hear of an appointment, or of its change |
| `roster ID roles= skills= languages= shifts=09:00-13:00,…`, `unroster ID` | the same for a clerk |
| `duty ID available` | a clerk's own word |
| `read qr token=A`, `code=A`, `loyalty=V`, `card=V,W`, `beacon=V`, `tag=V` | a read that names appointment A, or whose credential V owns (`nobody`: none) |
| `    … reader= zone= id= said=09:40 once=TOKEN` | its reader, place, identity, the reader's own time, the single-use token |
| `bad qr reason=token-expired` | a read that cannot be decoded |
| `marco: coming visit-1 alert= outcome= to= reason=` | a clerk's action |
| `marco: here V zone=` | "she is here", of visitor V or of `nobody` |
| `reader ID lost reason=`, `reader ID back`, `clock 5000` | devices |
| `dossier visit-1 marco giulia` | whether they may open it now |
| `show visit-1`, `explain visit-1`, `deadlines` | how things stand |
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from gateway.core import commands as cmd
from gateway.core.chain import seal, unseal
from gateway.core.decide import decide
from gateway.core.decision import Decision
from gateway.core.events import AlertRef, Event
from gateway.core.evolve import evolve
from gateway.core.explain import explain
from gateway.core.model import Appointment, Clerk, Finding, Proof, Rules, Shift, SingleUse, Technology
from gateway.core.react import Notice, react
from gateway.core.state import State, digest, from_bytes, to_bytes
from gateway.core.states import may_open_dossier
from gateway.core.timers import deadline_of, next_deadline, subjects
from gateway.shell.deadlines import Deadlines

DAY = datetime(2026, 11, 22, tzinfo=UTC)
_MOST_TICKS = 500  # in one order; more would be a tick that changes nothing

_HASHED = re.compile(r"\b(visit|alert)-[0-9a-f]{20}\b")
_SHORT = re.compile(r"\b(visit|alert)-[0-9]+\b")
# Said by the alert's message, or of no interest to a reader of stories.
_QUIET = {
    "visit.opened": {"abandon_at", "appointment_end"},
    "visit.alerted": {"match", "zone", "appointment_start", "flags", "expires_at"},
    "visit.closed": {"forget_at"},
}
_KINDS = {
    "token": ("appointment", Proof.PROVEN),
    "code": ("booking-code", Proof.HELD),
    "loyalty": ("loyalty", Proof.HELD),
    "card": ("nfc-uid", Proof.HINT),
    "beacon": ("ibeacon", Proof.HINT),
    "tag": ("epc", Proof.HINT),
}
_APPOINTMENT_DEFAULTS = {"start": "10:00", "end": "10:30", "visitor": "v-anna", "clerk": "marco"}


class Story:
    """One store on one day. `obey(order)` gives the lines that the order leads to."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules(store="milano-01")
        self.now = DAY + timedelta(hours=9)
        self.state = State()
        self.log: list[Event] = []
        self._commands = 0
        self._names: dict[str, str] = {}
        self._directory: dict[str, Appointment] = {}

    def obey(self, order: str) -> Iterator[str]:
        """Carry out one order."""
        words = shlex.split(self._long(order))
        verb, *rest = words
        if verb.endswith(":"):
            lines = self._clerk_says(verb[:-1], rest)
        else:
            orders: dict[str, Callable[[list[str]], Iterator[str]]] = {
                "at": self._at,
                "wait": self._wait,
                "asleep": self._asleep,
                "appointment": self._appointment,
                "roster": self._roster,
                "unroster": self._unroster,
                "duty": self._duty,
                "read": self._read,
                "bad": self._bad,
                "reader": self._reader,
                "clock": self._clock,
                "dossier": self._dossier,
                "show": self._show,
                "explain": self._explain,
                "deadlines": self._deadlines,
            }
            lines = orders[verb](rest)
        return (self._brief(line) for line in lines)

    def check(self) -> None:
        """What must hold after any story: replaying the log, or a snapshot and the rest, gives the same state."""
        state, saved = State(), len(self.log) // 2
        for seq, event in enumerate(self.log, 1):
            again = unseal(seal(event, seq=seq, prev_hash="0" * 64, store="s", epoch="e").body)
            assert again == event
            state = evolve(state, again, seq)
            if seq == saved:
                state = from_bytes(to_bytes(state))
        assert digest(state) == digest(self.state)
        assert Deadlines(self.state).next(self.state) == next_deadline(self.state)

    # -- orders

    def _at(self, words: list[str]) -> Iterator[str]:
        yield from self._pass_time(self._time(words[0]))

    def _wait(self, words: list[str]) -> Iterator[str]:
        yield from self._pass_time(self._time(f"+{words[0]}"))

    def _pass_time(self, until: datetime) -> Iterator[str]:
        assert until >= self.now, f"time does not run backwards, from {self.now} to {until}"
        for _ in range(_MOST_TICKS):
            if (due := next_deadline(self.state)) is None or due > until:
                break
            self.now = max(self.now, due)
            yield from self._tick()
        else:
            raise AssertionError(f"time stands still at {self.now}")
        self.now = until

    def _tick(self) -> Iterator[str]:
        found = [s for s in subjects(self.state) if (d := deadline_of(self.state, s)) and d <= self.now]
        yield f"{self.now:%H:%M:%S} tick"
        yield from self._submit(cmd.Tick(**self._head(), subjects=tuple(found)), receipt=False)

    def _asleep(self, words: list[str]) -> Iterator[str]:
        self.now = self._time(words[0])
        yield from ()

    def _appointment(self, words: list[str]) -> Iterator[str]:
        name, given = words[0], _options(words[1:])
        old = self._directory.get(name)
        said: dict[str, str | None] = dict(given) if old else {**_APPOINTMENT_DEFAULTS, **given}
        changes: dict[str, Any] = {k: v if v != "nobody" else None for k, v in said.items()}
        changes |= {k: self._time(str(v)) for k, v in said.items() if k in ("start", "end")}
        if "party_size" in said:
            changes["party_size"] = int(str(said["party_size"]))
        base = old or Appointment(name, self.now, self.now, version=0)
        self._directory[name] = replace(base, **{"version": base.version + 1, **changes})
        yield from self._submit(cmd.PlanAppointment(**self._head(), appointment=self._directory[name]))

    def _roster(self, words: list[str]) -> Iterator[str]:
        name, given = words[0], _options(words[1:])
        shifts = None
        if "shifts" in given:
            spans = [span.split("-") for span in _list(given["shifts"])]
            shifts = tuple(Shift(self._time(start), self._time(end)) for start, end in spans)
        clerk = Clerk(
            name,
            roles=_list(given.get("roles", "clerk")),
            skills=_list(given.get("skills", "")),
            languages=_list(given.get("languages", "")),
            shifts=shifts,
            version=self._commands,
        )
        yield from self._submit(cmd.RosterClerk(**self._head(), clerk=clerk))

    def _unroster(self, words: list[str]) -> Iterator[str]:
        yield from self._submit(cmd.RosterClerk(**self._head(), clerk=Clerk(words[0]), removed=True))

    def _duty(self, words: list[str]) -> Iterator[str]:
        yield from self._submit(cmd.SetDuty(**self._head(), clerk=words[0], duty=words[1]))

    def _read(self, words: list[str]) -> Iterator[str]:
        technology, given = Technology(words[0]), _options(words[1:])
        reader = given.get("reader", "door-1")
        yield from self._submit(
            cmd.RecordRead(
                **self._head(f"read:{reader}:{given['id']}" if "id" in given else None),
                read=given.get("id", f"r{self._commands}"),
                reader=reader,
                zone=given.get("zone", "door"),
                technology=technology,
                finding=self._finding(given),
                read_time=datetime.fromisoformat(given["said"])
                if "T" in given.get("said", "")
                else self._time(given["said"])
                if "said" in given
                else None,
            )
        )

    def _finding(self, given: dict[str, str]) -> Finding:
        """As the directory would answer: see gateway/shell/directory_lookup.py."""
        (by,) = _KINDS.keys() & given.keys()
        kind, proof = _KINDS[by]
        once = SingleUse(given["once"], DAY + timedelta(days=1)) if "once" in given else None
        named = self._directory.get(given[by]) if by in ("token", "code") else None
        owners: tuple[str, ...]
        if by in ("token", "code"):
            owners = (named.visitor,) if named and named.visitor else ()
        else:
            owners = tuple(v for v in _list(given[by]) if v != "nobody")
        theirs = [a for a in self._directory.values() if a.visitor in owners or a is named]
        appointments = tuple(sorted(theirs, key=lambda a: a.start))
        return Finding(kind, proof, owners, named.id if named else None, appointments, once)

    def _bad(self, words: list[str]) -> Iterator[str]:
        given = _options(words[1:])
        yield from self._submit(
            cmd.RefuseRead(
                **self._head(),
                read=f"r{self._commands}",
                reader=given.get("reader", "door-1"),
                technology=words[0],
                reason=given["reason"],
                zone=given.get("zone", "door"),
            )
        )

    def _clerk_says(self, clerk: str, words: list[str]) -> Iterator[str]:
        action, about, *more = words
        given = _options(more)
        if action == "here":
            finding = (
                None
                if about == "nobody"
                else replace(self._finding({"loyalty": about}), credential_kind="name", proof=Proof.HELD)
            )
            zone = given.get("zone", "floor")
            yield from self._submit(
                cmd.ReceiveVisitor(**self._head(), clerk=clerk, zone=zone, finding=finding)
            )
            return
        yield from self._submit(
            cmd.ClerkAction(**self._head(), clerk=clerk, visit=about, action=action, **dict[str, Any](given))
        )

    def _reader(self, words: list[str]) -> Iterator[str]:
        reason = _options(words[2:]).get("reason")
        lost = words[1] == "lost"
        yield from self._submit(cmd.ReportReader(**self._head(), reader=words[0], lost=lost, reason=reason))

    def _clock(self, words: list[str]) -> Iterator[str]:
        yield from self._submit(cmd.AdjustClock(**self._head(), by_milliseconds=int(words[0])))

    def _dossier(self, words: list[str]) -> Iterator[str]:
        visit = self.state.visits[words[0]]
        yield "dossier " + " ".join(f"{c}={may_open_dossier(visit, c) or 'open'}" for c in words[1:])

    def _show(self, words: list[str]) -> Iterator[str]:
        yield from (
            _told(self.state.visits[word], {"opened_at", "abandon_at", "forget_at"}) for word in words
        )

    def _explain(self, words: list[str]) -> Iterator[str]:
        about = [(seq, e) for seq, e in enumerate(self.log, 1) if e.subject == words[0]]
        yield from explain(about)

    def _deadlines(self, words: list[str]) -> Iterator[str]:
        for subject in subjects(self.state):
            if (due := deadline_of(self.state, subject)) is not None:
                yield f"{subject} {_value(due)}"

    # -- inside

    def _head(self, name: str | None = None) -> dict[str, Any]:
        self._commands += 1
        return {"id": name or f"c{self._commands}", "at": self.now}

    def _submit(self, command: cmd.Command, *, receipt: bool = True) -> Iterator[str]:
        before = digest(self.state)
        decision = decide(self.state, command, self.rules)
        if receipt:
            yield _receipt(command, decision)
        for event in decision.events:
            self.log.append(event)
            self.state = evolve(self.state, event, len(self.log))
            yield "  " + _event(event)
            yield from ("  > " + _notice(notice) for notice in react(event, len(self.log)))
        assert decision.events or digest(self.state) == before

    def _time(self, text: str) -> datetime:
        """`10:00`, `10:00:05.5`, of another day `1d10:00`, or from now `+600s`."""
        if text.startswith("+"):
            return self.now + timedelta(seconds=int(text[1:].removesuffix("s")))
        days, _, clock = text.rpartition("d")
        hours, minutes, *seconds = clock.split(":")
        return DAY + timedelta(
            days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float((*seconds, "0")[0])
        )

    def _brief(self, line: str) -> str:
        def short(found: re.Match[str]) -> str:
            if found[0] not in self._names:
                number = sum(name.startswith(found[1]) for name in self._names.values()) + 1
                self._names[found[0]] = f"{found[1]}-{number}"
            return self._names[found[0]]

        return _HASHED.sub(short, line)

    def _long(self, line: str) -> str:
        hashed = {short: name for name, short in self._names.items()}
        return _SHORT.sub(lambda found: hashed.get(found[0], found[0]), line)


def _receipt(command: cmd.Command, decision: Decision) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(command).__name__).lower()
    reason = f" {decision.reason}" if decision.reason else ""
    detail = f": {decision.detail}" if decision.detail else ""
    return f"{name} {decision.outcome}{reason}{detail}"


def _event(event: Event) -> str:
    about = {type(event).about} - {"clerk_id"}
    hidden = {"at", *about, *_QUIET.get(event.name, ())}
    return f"{event.name} {event.subject} {_told(event, hidden)}".rstrip()


def _told(thing: object, hidden: set[str]) -> str:
    told = {f.name: _value(getattr(thing, f.name)) for f in fields(thing) if f.name not in hidden}  # type: ignore[arg-type]  # events and visits are dataclasses
    return " ".join(f"{name}={text}" for name, text in told.items() if text)


def _notice(notice: Notice) -> str:
    kind = notice.type.removeprefix("soglia.").removesuffix(".v1")
    hidden = {"seq", "visit", "alert", "appointment_start", "expires_at", "zone"}
    told = " ".join(f"{k}={_value(v)}" for k, v in notice.data.items() if k not in hidden and v != [])
    return f"{notice.topic} {kind} {notice.data.get('alert', '')} {told}".replace("  ", " ")


def _value(value: object) -> str:
    """A value in as few words as will do; nothing for None and nothing for what is empty."""
    if value is None or value == ():
        return ""
    if isinstance(value, datetime):
        day = "" if value.date() == DAY.date() else f"{value:%Y-%m-%d}T"
        return day + f"{value:%H:%M:%S.%f}".rstrip("0").rstrip(".")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, AlertRef):
        return f"{value.alert}@{value.to or 'floor'}"
    if isinstance(value, tuple | list):
        return ",".join(map(_value, value))
    if hasattr(value, "__dataclass_fields__"):
        return f"({_told(value, set())})"
    return str(value)


def _options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)

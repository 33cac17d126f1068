"""What waits for time to pass. The shell sleeps until the earliest deadline and then submits a `Tick`.

A subject is a visit's id, or `clerk:{id}`. After a `Tick` that names a due subject its deadline is later or gone.
"""

from __future__ import annotations

from datetime import datetime

from gateway.core.state import Duty, State, Visit

CLERK = "clerk:"


def deadline_of(state: State, subject: str) -> datetime | None:
    """When something is due for `subject`; None when nothing is."""
    if subject.startswith(CLERK):
        duty = state.clerks.get(subject.removeprefix(CLERK))
        return _next_shift_change(duty) if duty else None
    visit = state.visits.get(subject)
    return _visit_deadline(visit) if visit and visit.open else None


def next_deadline(state: State) -> datetime | None:
    """The earliest deadline of all. Looks at everything: the shell keeps a heap that agrees with it."""
    deadlines = [deadline_of(state, subject) for subject in subjects(state)]
    return min((d for d in deadlines if d is not None), default=None)


def subjects(state: State) -> list[str]:
    """Everything that may have a deadline."""
    return [*state.visits, *(f"{CLERK}{clerk}" for clerk in state.clerks)]


def _visit_deadline(visit: Visit) -> datetime:
    waiting = [step.at for step in visit.ladder]
    waiting += [a.redeliver_at for a in visit.alerts if a.redeliver_at is not None]
    return min([*waiting, visit.abandon_at])


def _next_shift_change(duty: Duty) -> datetime | None:
    changes = [t for s in duty.clerk.shifts or () for t in (s.start, s.end) if t > duty.since]
    return min(changes, default=None)

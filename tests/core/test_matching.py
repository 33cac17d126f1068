"""Matching against the rules as the contract words them, at every edge and in the store's own time zone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.matching import REASONS, Kind, match
from gateway.core.model import Appointment, Finding, Proof, Rules

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
RULES = Rules(store="milano-01", time_zone="Europe/Rome")
ROME = ZoneInfo("Europe/Rome")


def booked(minutes: int, name: str = "a-1", visitor: str | None = "v-1", **more: Any) -> Appointment:
    """An appointment that starts so many minutes after ten."""
    start = TEN + timedelta(minutes=minutes)
    return Appointment(name, start, start + timedelta(minutes=30), visitor=visitor, clerk="marco", **more)


def by_token(*appointments: Appointment) -> Finding:
    return Finding("appointment", Proof.PROVEN, ("v-1",), appointments[0].id, appointments)


def by_card(*appointments: Appointment, owners: tuple[str, ...] = ("v-1",)) -> Finding:
    return Finding("nfc-uid", Proof.HINT, owners, None, appointments)


@pytest.mark.parametrize(
    ("minutes", "kind", "flags"),
    [
        (600, Kind.EXPECTED, ("early",)),
        (16, Kind.EXPECTED, ("early",)),
        (15, Kind.EXPECTED, ()),
        (0, Kind.EXPECTED, ()),
        (-10, Kind.EXPECTED, ()),
        (-11, Kind.EXPECTED, ("late",)),
        (-30, Kind.EXPECTED, ("late",)),
        (-31, Kind.KNOWN, ("late",)),
        (60 * 24, Kind.KNOWN, ("other-day",)),
        (-60 * 24, Kind.KNOWN, ("other-day",)),
    ],
)
def test_named_by_a_token(minutes: int, kind: Kind, flags: tuple[str, ...]) -> None:
    found = match(by_token(booked(minutes)), TEN, RULES)
    assert (found.kind, found.flags) == (kind, flags)


@pytest.mark.parametrize(
    ("minutes", "kind", "flags"),
    [
        (600, Kind.AMBIGUOUS, ("early",)),
        (16, Kind.AMBIGUOUS, ("early",)),
        (15, Kind.EXPECTED, ()),
        (-10, Kind.EXPECTED, ()),
        (-15, Kind.EXPECTED, ("late",)),
        (-16, Kind.AMBIGUOUS, ("late",)),
        (-30, Kind.AMBIGUOUS, ("late",)),
        (-31, Kind.KNOWN, ("late",)),
        (60 * 24, Kind.KNOWN, ()),
    ],
)
def test_owner_of_a_card(minutes: int, kind: Kind, flags: tuple[str, ...]) -> None:
    found = match(by_card(booked(minutes)), TEN, RULES)
    assert (found.kind, found.flags) == (kind, flags)


def test_the_day_is_the_stores_day() -> None:
    """23:30 in Rome is 22:30 UTC; half an hour after midnight it is another day there, and still the same in UTC."""
    just_before = datetime(2026, 11, 22, 23, 50, tzinfo=ROME).astimezone(UTC)
    midnight = replace(
        booked(0), start=just_before + timedelta(minutes=20), end=just_before + timedelta(hours=1)
    )
    assert match(by_token(midnight), just_before, RULES).reasons == ("named-by-token", "other-day")
    assert match(by_token(midnight), just_before, Rules()).kind is Kind.EXPECTED
    # By card, from 00:05 on, yesterday's lateness is not today's either.
    ten_past = just_before + timedelta(minutes=45)
    assert match(by_card(midnight), ten_past, RULES).reasons == ("owner", "outside-window")


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=ROME), datetime(2026, 10, 25, tzinfo=ROME)])
def test_the_days_on_which_the_clocks_change_have_no_hole(day: datetime) -> None:
    start = day.replace(hour=15).astimezone(UTC)
    early = day.replace(hour=0, minute=30).astimezone(UTC)
    appointment = replace(booked(0), start=start, end=start + timedelta(hours=1))
    assert match(by_token(appointment), early, RULES).kind is Kind.EXPECTED


def test_appointments_of_another_store_and_cancelled_ones_are_not_listed() -> None:
    elsewhere = booked(5, "a-2", store="roma-01")
    off = booked(5, "a-3", status="cancelled")
    far = booked(16, "a-4")
    near = booked(-15, "a-5")
    found = match(by_token(booked(0), elsewhere, off, far, near), TEN, RULES)
    assert found.others == ("a-5",)
    found = match(by_card(elsewhere, off, booked(0), near), TEN, RULES)
    assert found.others == ("a-5",)


def test_of_two_equally_near_the_earlier_counts() -> None:
    found = match(by_card(booked(5, "a-late"), booked(-5, "a-early")), TEN, RULES)
    assert found.appointment is not None
    assert (found.appointment.id, found.others) == ("a-early", ("a-late",))


def test_a_shared_card_and_an_appointment_of_nobody_in_particular() -> None:
    found = match(by_card(booked(0, visitor=None), owners=("v-2", "v-1")), TEN, RULES)
    assert (found.kind, found.candidates) == (Kind.AMBIGUOUS, ("v-1", "v-2"))


def test_a_name_without_its_appointment_is_nobody() -> None:
    finding = Finding("appointment", Proof.PROVEN, ("v-1",), "a-9", (booked(0),))
    assert match(finding, TEN, RULES).kind is Kind.UNKNOWN


minutes = st.integers(-3_000, 3_000)
stores = st.sampled_from([None, "milano-01", "roma-01"])
statuses = st.sampled_from(["booked", "cancelled"])
owners = st.sampled_from(["v-1", "v-2", None])
plans = st.builds(
    lambda start, visitor, store, status, n: booked(start, f"a-{n}", visitor, store=store, status=status),
    minutes,
    owners,
    stores,
    statuses,
    st.integers(1, 9),
)


@given(st.lists(plans, max_size=5, unique_by=lambda a: a.id), st.booleans(), st.sampled_from([1, 2]))
def test_against_the_contracts_sentences(day: list[Appointment], named: bool, owned_by: int) -> None:
    """Expected if and only if the contract says so; whatever it says has its reasons in plain words."""
    people = ("v-1", "v-2")[:owned_by]
    finding = by_token(*day) if named and day else by_card(*day, owners=people)
    found = match(finding, TEN, RULES)
    assert set(found.reasons) <= set(REASONS)
    meant = found.appointment
    if found.kind is Kind.EXPECTED:
        assert meant is not None
        assert meant.status == "booked"
        assert meant.store in (None, "milano-01")
        assert meant.start.astimezone(ROME).date() == TEN.astimezone(ROME).date()
        assert TEN - meant.start <= timedelta(minutes=30)
    open_here = [a for a in day if a.status == "booked" and a.store in (None, "milano-01")]
    near = [a for a in open_here if abs(a.start - TEN) <= timedelta(minutes=15)]
    if finding.named is not None:
        assert meant is day[0]
        whose_day = day[0].start.astimezone(ROME).date() == TEN.astimezone(ROME).date()
        good = day[0] in open_here and whose_day and TEN - day[0].start <= timedelta(minutes=30)
        assert (found.kind is Kind.EXPECTED) == good
    elif owned_by == 1:
        mine = [a for a in near if a.visitor == "v-1"]
        assert (found.kind is Kind.EXPECTED) == bool(mine)
        if mine:
            assert meant in mine
            assert all(abs(meant.start - TEN) <= abs(a.start - TEN) for a in mine)
    else:
        alone = len({a.visitor for a in near}) == 1 and near[0].visitor is not None
        assert (found.kind is Kind.EXPECTED) == alone
        assert (found.visitor is None) == (not alone)

"""iCalendar files as records: series, time zones, versions, what is broken and what is hostile."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import DecodeError
from gateway.shell.records import parse_mapping
from sync.adapters.ical import Feed, Mapped, Seen, records
from sync.adapters.identity import identifier

SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
IDENTIFY = identifier(b"k" * 32)
FEED = Feed("agenda", "milano-01", "Europe/Rome", clerks={"Marco@example.com": "marco"})
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def event(*lines: str, uid: str = "one@example.com", start: str = "DTSTART:20261123T100000Z") -> str:
    length = () if any(line.startswith(("DTEND", "DURATION")) for line in lines) else ("DURATION:PT30M",)
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", start, *length, *lines, "END:VEVENT"])


def calendar(*events: str, method: str = "PUBLISH") -> bytes:
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//EN\r\nMETHOD:{method}\r\n"
    return (head + "".join(each + "\r\n" for each in events) + "END:VCALENDAR\r\n").encode()


def read(
    *events: str, known: dict[str, Seen] | None = None, now: datetime = NOW, feed: Feed = FEED
) -> Mapped:
    return records(calendar(*events), feed, now, IDENTIFY, known or {})


def appointments(mapped: Mapped) -> list[dict[str, Any]]:
    found = [each for each in mapped.records if each["kind"] == "appointment"]
    return sorted(found, key=lambda each: str(each["start"]))


def starts(mapped: Mapped) -> list[str]:
    return [f"{datetime.fromisoformat(each['start']):%m-%d %H:%M}" for each in appointments(mapped)]


def test_an_event_gives_a_visitor_and_an_appointment() -> None:
    mapped = read(
        event(
            "SUMMARY:Fitting for Anna",
            "LAST-MODIFIED:20261120T080000Z",
            "SEQUENCE:3",
            "ORGANIZER;CN=Marco:mailto:marco@example.com",
            "ATTENDEE;CN=Marco;PARTSTAT=ACCEPTED:mailto:MARCO@example.com",
            "ATTENDEE;CN=Sala;CUTYPE=ROOM:mailto:room@example.com",
            "ATTENDEE;CN=Ugo;PARTSTAT=DECLINED:mailto:ugo@example.com",
            'ATTENDEE;CN="Bianchi, Anna":mailto:anna@example.com',
            "ATTENDEE;CN=Friend:mailto:friend@example.com",
        )
    )
    anna = IDENTIFY("mailto:anna@example.com")
    version = int(datetime(2026, 11, 20, 8, tzinfo=UTC).timestamp()) * 1_000 + 3
    (planned,) = appointments(mapped)
    assert planned == {
        "kind": "appointment",
        "id": IDENTIFY("ical:agenda:one@example.com"),
        "version": version,
        "start": "2026-11-23T10:00:00+00:00",
        "end": "2026-11-23T10:30:00+00:00",
        "status": "booked",
        "store": "milano-01",
        "source": "icalendar",
        "clerk": "marco",
        "visitor": anna,
    }
    (visitor,) = [each for each in mapped.records if each["kind"] == "visitor"]
    names = {"given_name": "Anna", "family_name": "Bianchi"}
    assert visitor == {"kind": "visitor", "id": anna, "version": version, **names}
    assert "example.com" not in str(mapped)


def test_the_feeds_own_clerk_wins() -> None:
    feed = Feed("agenda", "milano-01", "Europe/Rome", clerk="lia", clerks=FEED.clerks)
    assert appointments(read(event("ORGANIZER:mailto:marco@example.com"), feed=feed))[0]["clerk"] == "lia"
    assert "clerk" not in appointments(read(event("ORGANIZER:mailto:x@example.com")))[0]


@pytest.mark.parametrize(
    ("start", "utc"),
    [
        ("DTSTART:20261123T100000", "11-23 09:00"),  # floating: the store's zone
        ("DTSTART;TZID=America/New_York:20261123T100000", "11-23 15:00"),
        ("DTSTART;TZID=W. Europe Standard Time:20261123T100000", "11-23 09:00"),
        ("DTSTART:20261123T100000Z", "11-23 10:00"),
    ],
)
def test_time_zones(start: str, utc: str) -> None:
    assert starts(read(event(start=start))) == [utc]


def test_a_zone_of_its_own_and_one_nobody_knows() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Shop+3\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n"
        "TZOFFSETFROM:+0300\r\nTZOFFSETTO:+0300\r\nEND:STANDARD\r\nEND:VTIMEZONE"
    )
    assert starts(read(zone, event(start="DTSTART;TZID=Shop+3:20261123T100000"))) == ["11-23 07:00"]
    unknown = read(event(start="DTSTART;TZID=Mars/Olympus:20261123T100000"))
    assert (unknown.records, unknown.problems[0].text) == ([], "DTSTART: its time zone is not known")


def test_a_series_over_the_change_of_time_with_exceptions() -> None:
    feed_now = datetime(2026, 10, 20, 9, 0, tzinfo=UTC)
    rome = "DTSTART;TZID=Europe/Rome:20261020T100000"
    series = event("RRULE:FREQ=WEEKLY;UNTIL=20261110", "EXDATE;TZID=Europe/Rome:20261103T100000", start=rome)
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Rome:20261027T100000",
        start="DTSTART;TZID=Europe/Rome:20261028T150000",
    )
    dropped = event(
        "RECURRENCE-ID;TZID=Europe/Rome:20261110T100000",
        "STATUS:CANCELLED",
        start="DTSTART;TZID=Europe/Rome:20261110T100000",
    )
    plain = read(series, now=feed_now)
    assert starts(plain) == ["10-20 08:00", "10-27 09:00", "11-10 09:00"]
    changed = read(series, moved, dropped, now=feed_now, known=plain.seen)
    assert starts(changed) == ["10-20 08:00", "10-28 14:00", "11-10 09:00"]
    assert [each["status"] for each in appointments(changed)] == ["booked", "booked", "cancelled"]
    # The moved one keeps its id, with a higher version although no SEQUENCE grew.
    before, after = appointments(plain), appointments(changed)
    assert [each["id"] for each in before] == [each["id"] for each in after]
    assert [b["version"] < a["version"] for b, a in zip(before, after, strict=True)] == [False, True, True]


def test_this_and_future_gives_each_occurrence_an_id() -> None:
    mapped = read(
        event("RRULE:FREQ=DAILY;COUNT=4"),
        event("RECURRENCE-ID;RANGE=THISANDFUTURE:20261124T100000Z", start="DTSTART:20261124T120000Z"),
    )
    assert starts(mapped) == ["11-23 10:00", "11-24 12:00", "11-25 12:00", "11-26 12:00"]
    assert len({each["id"] for each in appointments(mapped)}) == 4


def test_versions_grow_with_the_content_only() -> None:
    first = read(event("DTSTAMP:20261120T080000Z"))
    fetched_again = read(event("DTSTAMP:20261122T080000Z"), known=first.seen)
    assert fetched_again.records == first.records
    moved = read(event("DTSTAMP:20261120T080000Z", start="DTSTART:20261123T110000Z"), known=first.seen)
    assert moved.records[0]["version"] == first.records[0]["version"] + 1
    newer = read(event("DTSTAMP:20261122T080000Z", start="DTSTART:20261123T110000Z"), known=first.seen)
    assert newer.records[0]["version"] > moved.records[0]["version"]


def test_what_vanishes_is_cancelled_if_it_is_still_ahead_and_may_come_back() -> None:
    both = read(event(), event(uid="past", start="DTSTART:20261122T070000Z"))
    empty = read(known=both.seen)
    (gone,) = empty.records
    assert (gone["status"], gone["start"]) == ("cancelled", "2026-11-23T10:00:00+00:00")
    assert read(known=empty.seen).records == []
    back = read(event(), known=empty.seen)
    assert (back.records[0]["status"], back.records[0]["version"]) == ("booked", gone["version"] + 1)


def test_what_became_unreadable_has_not_vanished() -> None:
    first = read(event(), event(uid="two"))
    broken = read(event(start="DTSTART:soon"), event(uid="two"), known=first.seen)
    assert [problem.text for problem in broken.problems] == ["DTSTART: cannot be read"]
    assert [each["id"] for each in broken.records] == [IDENTIFY("ical:agenda:two")]
    unnamed = "BEGIN:VEVENT\r\nDTSTART:soon\r\nEND:VEVENT"
    assert read(unnamed, known=first.seen).records == []


def test_cancelled_by_method_and_all_day_skipped() -> None:
    mapped = records(calendar(event(), method="CANCEL"), FEED, NOW, IDENTIFY, {})
    assert mapped.records[0]["status"] == "cancelled"
    all_day = read("BEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261123\r\nEND:VEVENT")
    assert (all_day.records, [each.text for each in all_day.skipped]) == (
        [],
        ["lasts all day, so it is not an appointment"],
    )


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY;COUNT=1000000000",
        "FREQ=MINUTELY",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMINUTE=" + ",".join(map(str, range(60))),
        "FREQ=SOMETIMES",
        "COUNT=3",
    ],
)
def test_a_hostile_rule_is_refused_while_the_rest_lands(rule: str) -> None:
    before = time.process_time()
    mapped = read(event(f"RRULE:{rule}", start="DTSTART:20200101T100000Z"), event(uid="good"))
    assert time.process_time() - before < 20
    assert [problem.where for problem in mapped.problems] == ["event 1"]
    assert mapped.problems[0].text.startswith("RRULE: ")
    assert [each["id"] for each in mapped.records] == [IDENTIFY("ical:agenda:good")]


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "FREQ=HOURLY;BYHOUR=10"])
def test_an_old_but_honest_rule_is_expanded(rule: str) -> None:
    mapped = read(event(f"RRULE:{rule}", start="DTSTART:20240101T100000Z"))
    assert mapped.problems == []
    assert 40 < len(mapped.records) < 70


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "holds no VCALENDAR"),
        (b"<html><body>Not found</body></html>", "holds no VCALENDAR"),
        (calendar(event()).removesuffix(b"END:VCALENDAR\r\n"), "ends within a VCALENDAR"),
        (calendar(event()).removesuffix(b"ALENDAR\r\n"), "an END without its BEGIN at unfolded line 10"),
        (b"END:VCALENDAR\r\n", "an END without its BEGIN at unfolded line 1"),
        (b"BEGIN:VCALENDAR\r\nCALSCALE\r\n", "ends within a VCALENDAR"),
    ],
)
def test_a_broken_file_is_refused(raw: bytes, named: str) -> None:
    with pytest.raises(DecodeError, match="calendar-broken") as caught:
        records(raw, FEED, NOW, IDENTIFY, read(event()).seen)
    assert named in caught.value.detail


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("DTEND:20261123T090000Z", "DTEND: lies before DTSTART"),
        ("DURATION:-PT5M", "DURATION: is negative"),
        ("DTSTART:20261123T100000Z", "DTSTART: given twice"),
    ],
)
def test_an_odd_event_is_refused_by_its_place(line: str, named: str) -> None:
    mapped = read(event(line))
    assert ([each.text for each in mapped.problems], mapped.records) == ([named], [])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
@pytest.mark.parametrize("year", [1996, 2013, 2016, 2024, 2025, 2026])
def test_every_sample_gives_valid_records_or_a_clear_error(year: int) -> None:
    paths = sorted([*SAMPLES.glob("icalendar/*/*.ics"), *SAMPLES.glob("schemaorg/*/*.ics")])
    assert paths
    given_records = 0
    for path in paths:
        try:
            mapped = records(path.read_bytes(), FEED, datetime(year, 1, 10, tzinfo=UTC), IDENTIFY, {}, 365)
        except DecodeError as error:
            assert error.reason == "calendar-broken", path.name  # noqa: PT017 - either outcome is right
            continue
        for record in mapped.records:
            parse_mapping(record)
        given_records += len(mapped.records)
    assert given_records > 0


@settings(max_examples=80, deadline=timedelta(seconds=10))
@given(place=st.integers(0, 400), junk=st.binary(min_size=1, max_size=4))
def test_damage_anywhere_gives_valid_records_or_a_clear_error(place: int, junk: bytes) -> None:
    whole = calendar(event("RRULE:FREQ=DAILY;COUNT=3", "ATTENDEE;CN=Anna:mailto:a@b.c"), event(uid="two"))
    raw = whole[:place] + junk + whole[place + len(junk) :]
    try:
        mapped = records(raw, FEED, NOW, IDENTIFY, {})
    except DecodeError as error:
        assert error.reason == "calendar-broken"  # noqa: PT017 - either outcome is right
    else:
        for record in mapped.records:
            parse_mapping(record)

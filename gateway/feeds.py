"""Part of the wiring: the three ways in which appointments and profiles come in, and the log's hearing of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.core.errors import LogError
from gateway.settings import secret
from gateway.settings_model import CalCom, Calendar, Settings
from gateway.shell.importer import Importer
from gateway.shell.intake import Submit
from gateway.shell.telling import Teller
from gateway.stores import DIRECTORY, Stores
from sync.adapters import calcom
from sync.adapters.ical import Feed
from sync.adapters.identity import identifier
from sync.calendars import CalendarPoller, CalendarSource


class Feeds:
    """Each puts its records into the directory first, and then tells the log of what has changed."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        submit: Submit,
        now: Callable[[], datetime],
        on_fatal: Callable[[LogError], None],
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._now = now
        self._on_fatal = on_fatal
        self._key = stores.keys.secret("credential")
        self._teller = Teller(stores.directory, submit, now)
        self._importer = Importer(stores.path / DIRECTORY, self._key, settings.store.id, stores.directory)

    @property
    def hooks(self) -> Mapping[str, Callable[[bytes, Mapping[str, str]], Mapping[str, Any]]]:
        """The webhooks that are configured, by name."""
        wanted = self._settings.calcom
        return {"calcom": lambda body, headers: self._calcom(wanted, body, headers)} if wanted else {}

    def tell(self) -> None:
        """Tell the log what it has not heard of: at the start, what a crash may have left untold."""
        self._teller.tell()

    def put(self, lines: Sequence[bytes]) -> Mapping[str, Any]:
        """The platform's NDJSON lines; the contract's answer."""
        result = self._importer.put(lines, "platform", self._now())
        self._teller.tell()
        return result.answer()

    def calendars(self) -> CalendarPoller | None:
        """The poller of the configured calendars, not started; None without any."""
        if not self._settings.calendars:
            return None
        sources = [self._calendar(*each) for each in enumerate(self._settings.calendars)]
        return CalendarPoller(
            self._stores.directory, sources, self._key, self._now, lambda _: self.tell(), self._on_fatal
        )

    def _calendar(self, number: int, wanted: Calendar) -> CalendarSource:
        store = self._settings.store
        feed = Feed(f"calendar-{number}", store.id, store.time_zone, wanted.clerk)
        return CalendarSource(feed, wanted.url or str(wanted.path), wanted.every.total_seconds())

    def _calcom(self, wanted: CalCom, body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
        key = secret(wanted.secret_file).encode()
        calcom.verify_signature(key, body, headers.get("x-cal-signature-256"))
        store, identify = self._settings.store.id, identifier(self._key)
        mapped = calcom.records(calcom.decode(body), store, wanted.clerks, identify)
        if mapped.ignored is not None:
            return {"ignored": mapped.ignored}
        result = self._stores.directory.put_records(mapped.records, calcom.SOURCE, self._now())
        self._teller.tell()
        return result.answer()

"""Pages and pieces of pages from the templates. Everything that is put into one is escaped."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup, escape

from gateway.web import words

STATIC = Path(__file__).parent / "static"

WARM_SECONDS = 60
HOT_SECONDS = 120


class Screen:
    """The templates, for one store and its time zone."""

    def __init__(self, store_name: str, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=ChainableUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(words=words, store_name=store_name, time_zone=time_zone)
        self._templates.filters.update(clock=self.clock, day_and_clock=self.day_and_clock, ticks=ticks)

    def render(self, template: str, **values: Any) -> str:
        """The template as HTML."""
        return self._templates.get_template(template).render(values)

    def clock(self, at: str | datetime) -> str:
        """`10:30`, in the store."""
        return self._local(at).strftime("%H:%M")

    def day_and_clock(self, at: str | datetime, now: datetime) -> str:
        """`Today 10:30`, `Yesterday 21:04`, `12 Nov 18:00`, in the store; the text itself when it is no time."""
        try:
            local = self._local(at)
        except ValueError:
            return str(at)
        days = (now.astimezone(self._zone).date() - local.date()).days
        day = {0: "Today", 1: "Yesterday"}.get(days, f"{local.day} {local:%b}")
        return f"{day} {local:%H:%M}"

    def _local(self, at: str | datetime) -> datetime:
        instant = datetime.fromisoformat(at) if isinstance(at, str) else at
        return instant.astimezone(self._zone)


def waited(since: str, now: datetime) -> tuple[str, str]:
    """How long somebody has waited: in words, and how urgent that is (`calm`, `warm`, `hot`)."""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    urgency = "calm" if seconds < WARM_SECONDS else "warm" if seconds < HOT_SECONDS else "hot"
    if seconds < 10:
        return "just now", urgency
    if seconds < 60:
        return f"{seconds} s", urgency
    minutes = seconds // 60
    return (f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"), urgency


def ticks(text: str) -> Markup:
    """Text with `code` in backticks, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))

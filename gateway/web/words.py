"""What slugs are called on the screen. English for now: a message catalogue takes this file's place later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

REASONS = {
    "named-by-token": "checked in with a personal code",
    "named-by-code": "gave the booking code",
    "owner": "recognised at the door",
    "shared-credential": "the card belongs to several people",
    "one-owner-expected": "only one of them is expected now",
    "in-window": "expected about now",
    "nearest": "nearest of several appointments",
    "early": "early for the appointment",
    "late": "a little late",
    "too-late": "the appointment began too long ago",
    "outside-window": "the appointment is today, but not now: please ask",
    "other-day": "the appointment is on another day",
    "cancelled": "the appointment was cancelled",
    "other-store": "the appointment is at another store",
    "no-appointment": "no appointment today",
    "nobody": "not anybody we know",
    "seen-by-clerk": "seen by a colleague",
}

MATCHES = {"expected": "Expected", "known": "Known", "ambiguous": "Please ask", "unknown": "Walk-in"}

STATES = {
    "arrived": "Arrived",
    "alerted": "Waiting",
    "acknowledged": "On the way",
    "greeted": "Greeted",
    "serving": "Being served",
    "closed": "Done",
}

FLAGS = {
    "early": "Early",
    "late": "Late",
    "hint": "Confirm in person",
    "other-day": "Other day",
    "cancelled": "Cancelled",
    "other-store": "Other store",
}

OUTCOMES = {
    "sold": "Bought",
    "reserved": "Put aside",
    "advice": "Advice only",
    "return": "Return or exchange",
    "no-sale": "Nothing today",
    "other": "Something else",
}

DUTIES = {"available": "Available", "paused": "On a break", "off-shift": "Off shift"}
DUTY_OF_STATE = {"on": "available", "paused": "paused", "off": "off-shift"}

LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}

CHANNELS = {
    "chat": "Chat",
    "chatbot": "Chatbot",
    "contact-centre": "Contact centre",
    "e-mail": "E-mail",
    "email": "E-mail",
    "facebook": "Facebook",
    "instagram": "Instagram",
    "messenger": "Messenger",
    "site": "Website",
    "store": "In store",
    "telegram": "Telegram",
    "voice": "Phone",
    "whatsapp": "WhatsApp",
}

COLOURS = {
    "beige": "beige",
    "bianco": "white",
    "black": "black",
    "burgundy": "burgundy",
    "cognac": "camel",
    "gold": "gold",
    "natural": "cream",
    "silver": "silver",
    "tobacco": "brown",
    "blu": "blue",
    "blue": "blue",
    "brown": "brown",
    "camel": "camel",
    "cream": "cream",
    "giallo": "yellow",
    "green": "green",
    "grey": "grey",
    "gray": "grey",
    "grigio": "grey",
    "marrone": "brown",
    "navy": "navy",
    "nero": "black",
    "orange": "orange",
    "pink": "pink",
    "purple": "purple",
    "red": "red",
    "rosa": "pink",
    "rosso": "red",
    "verde": "green",
    "viola": "purple",
    "white": "white",
    "yellow": "yellow",
}

CURRENCIES = {"EUR": "€", "GBP": "£", "USD": "$", "CHF": "CHF\u202f", "JPY": "¥"}

TOUCHES = {
    "ad_clicked": "Tapped an ad",
    "booking_confirmed": "Booking confirmed",
    "call": "Called",
    "cart_updated": "In the cart",
    "conversation": "Conversation",
    "message": "Wrote",
    "page_viewed": "Read",
    "post_liked": "Liked a post",
    "product_added": "In the cart",
    "product_viewed": "Looked at",
    "profile_visited": "Visited our profile",
    "purchase": "Bought",
    "reminder_sent": "Reminder sent",
    "return": "Returned",
    "search": "Searched for",
    "visit": "Came in",
    "wishlist_added": "Wish list",
}


def plainly(slug: str) -> str:
    """A slug nobody gave words to, as words: `size_changed` is `size changed`."""
    return slug.replace("-", " ").replace("_", " ").replace(".", " ")


def reason(slug: str) -> str:
    """A match's reason, within a sentence."""
    return REASONS.get(slug, plainly(slug))


def why(reasons: Sequence[str]) -> str:
    """The reasons as one line: `Recognised at the door, expected about now.`"""
    line = ", ".join(reason(slug) for slug in reasons)
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def flag(slug: str) -> str:
    """A flag, on its own."""
    return FLAGS.get(slug, plainly(slug).capitalize())


def language(tag: str) -> str:
    """`it-IT` is Italian."""
    return LANGUAGES.get(tag.partition("-")[0].lower(), tag)


def service(text: str) -> str:
    """A service as the booking system names it."""
    return plainly(text)[:1].upper() + plainly(text)[1:]


def channel(slug: str) -> str:
    """Where a touchpoint was; an unknown channel is shown as it came."""
    return CHANNELS.get(slug.lower(), slug)


def touch(slug: str) -> str:
    """What a touchpoint was."""
    return TOUCHES.get(slug.lower(), plainly(slug).capitalize())


def colour(text: str) -> str:
    """The style sheet's swatch for a colour's name, in English or Italian; empty for one it does not have."""
    for word in text.casefold().replace("-", " ").split():
        if word in COLOURS:
            return COLOURS[word]
    return ""


def money(price: Mapping[str, object] | None) -> str:
    """`{"amount": "129.00", "currency": "EUR"}` is €129.00."""
    if not price or price.get("amount") is None:
        return ""
    currency = str(price.get("currency") or "")
    return f"{CURRENCIES.get(currency, f'{currency} ')}{price['amount']}"

"""What went wrong between a device and a decodable read: `Read.data = {"fault": slug}`.

A scan that fails on its way is still a read with an id, so that every refused scan is counted in one place
and its reader hears why. Only these slugs exist; anything else is refused as `read-fault-unknown`.
"""

from __future__ import annotations

FAULTS = {
    "serial-over-length": "The scanner sent a line that is longer than any of our codes.",
    "serial-no-terminator": "The scanner stopped before the end of the line; check its suffix setting.",
    "serial-no-prefix": "The scanner's line lacks the configured prefix.",
    "serial-nul": "The scanner's line has a NUL; check baud rate and parity.",
    "serial-encoding": "The scanner's line is not in the configured encoding; check baud rate and parity.",
    "wedge-over-length": "The scanner typed more than any of our codes has.",
    "wedge-no-terminator": "The scanner stopped before Enter; check its suffix setting.",
    "wedge-key-gap": "The keys came too slowly to be a scanner's.",
    "wedge-unmapped-key": "The scanner pressed a key that the layout does not have; check `layout`.",
    "wedge-dropped": "The kernel dropped keys; scan again.",
    "picture-unreadable": "The picture cannot be read; send a PNG or a JPEG.",
    "picture-oversize": "The picture is too large.",
    "picture-several-codes": "There is more than one code in the picture; show one.",
    "nfc-tap-budget": "The card did not finish answering; take it away and tap again.",
    "nfc-tag-malformed": "The card breaks the NFC protocol; it cannot be read.",
    "nfc-torn-read": "The card was taken away too soon; tap again and hold it.",
    "nfc-two-cards": "There are two cards on the reader; tap one.",
}

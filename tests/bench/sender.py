"""Sends a file of records to a running gateway, as a platform does, from a process of its own.

    python -m tests.bench.sender API-ADDRESS FILE TOKEN

Prints the answer with `seconds`, from the first byte sent to the last byte answered.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

_PIECE = 1 << 18


def main(api: str, path: str, token: str) -> None:
    """One PUT."""
    os.nice(15)  # a platform is not on this box, and must not take its processor
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
    begin = time.perf_counter()
    address = f"{api}/api/v1/sync/directory"
    answer = httpx.put(address, content=_pieces(Path(path)), headers=headers, timeout=900)
    answer.raise_for_status()
    print(json.dumps({**answer.json(), "seconds": time.perf_counter() - begin}))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Serial, wedge, camera and replay over real descriptors, real drivers and real pictures."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import struct
import threading
import time
import tty
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import qrcode
from evdev import InputEvent, ecodes
from PIL import Image

from devices.decoders.faults import FAULTS
from devices.readers import pictures
from devices.readers.camera import MAX_FRAMES, CameraReader, decode_picture
from devices.readers.replay import ReplayReader, parse
from devices.readers.serial import Framing, SerialReader
from devices.readers.wedge import WedgeReader
from gateway.core.errors import DecodeError, ReaderError
from gateway.core.model import Technology
from tests.rigs.keyboards import PipeDevice, Scanner, event, stroke
from tests.rigs.watching import Watch, running, wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    hand, line = pty.openpty()
    tty.setraw(line)
    yield hand, os.ttyname(line)
    for descriptor in (hand, line):
        os.close(descriptor)


def test_serial_lines_good_and_bad_reach_the_gateway_in_order(port: tuple[int, str]) -> None:
    hand, path = port
    with running(SerialReader("desk", path, 115_200, Framing(max_length=20))) as watch:
        os.write(hand, b"]Q1K7Q2MX\r\n" + b"A" * 500 + b"\r\n" + b"\xff\xfe\r\nA\x00B\r\nLAST\r\nTORN")
        assert watch.wait_reads(6) == [
            {"payload": "K7Q2MX", "symbology": "]Q1"},
            {"fault": "serial-over-length"},
            {"fault": "serial-encoding"},
            {"fault": "serial-nul"},
            {"payload": "LAST"},
            {"fault": "serial-no-terminator"},
        ]


def test_serial_repeats_are_one_read(port: tuple[int, str]) -> None:
    hand, path = port
    with running(SerialReader("desk", path)) as watch:
        os.write(hand, b"K7Q2MX\nK7Q2MX\nK7Q2MX\nOTHER\n")
        assert watch.wait_reads(2) == [{"payload": "K7Q2MX"}, {"payload": "OTHER"}]


def test_serial_port_is_ours_alone(port: tuple[int, str]) -> None:
    with running(SerialReader("desk", port[1])):
        second = Watch()
        second.start(SerialReader("desk-2", port[1]))
        second.join()
    assert isinstance(second.error, ReaderError)
    assert second.error.reason == "serial-lost"


@pytest.mark.parametrize("layout", ["us", "it"])
def test_wedge_types_addresses_and_tokens_in_either_layout(layout: str) -> None:
    scanner = Scanner(layout)
    wanted = ["https://shop.example/hello/K7Q2MX?x=1&y=2", "6BF+70790T9WJWG.FKY*4GO0.O1CV2 /:%", "]Q1abcABC"]
    with running(WedgeReader("desk", "fake", layout=layout, opener=scanner.open)) as watch:
        for text in wanted:
            scanner.scan(text)
        watch.wait_reads(3)
        scanner.close()
        watch.join()
    assert watch.fields == [
        *({"payload": text} for text in wanted[:2]),
        {"payload": "abcABC", "symbology": "]Q1"},
    ]


def test_a_scanner_set_to_the_wrong_layout_is_noticed() -> None:
    scanner = Scanner("it")
    with running(WedgeReader("desk", "fake", layout="us", opener=scanner.open)) as watch:
        scanner.scan("]Q1K7Q2MX")  # AltGr, which no US scanner presses
        assert watch.wait_reads(1) == [{"fault": "wedge-unmapped-key"}]
        scanner.unplug()
        watch.join()


def test_wedge_refuses_what_the_kernel_dropped_what_came_slowly_and_what_never_ends() -> None:
    scanner = Scanner()
    now = time.time()
    enter = ecodes.KEY_ENTER
    with running(WedgeReader("desk", "fake", max_length=20, opener=scanner.open)) as watch:
        scanner.write(scanner.typed("AB") + event(ecodes.EV_SYN, ecodes.SYN_DROPPED, 0) + scanner.typed("C"))
        scanner.write(stroke(enter))
        scanner.write(scanner.typed("AB", now) + scanner.typed("CDEF", now + 5) + stroke(enter, now + 5))
        scanner.write(scanner.typed("A" * 21, now + 6) + stroke(enter, now + 6))
        scanner.write(scanner.typed("AB", now + 7))
        expected = ["wedge-dropped", "wedge-key-gap", None, "wedge-over-length", "wedge-no-terminator"]
        assert [fields.get("fault") for fields in watch.wait_reads(5)] == expected
        assert watch.fields[2] == {"payload": "CDEF"}
        scanner.unplug()
        watch.join()


def test_wedge_grabs_its_device_and_gives_it_back() -> None:
    scanner, opened = Scanner(), []

    def opener(path: str) -> PipeDevice:
        opened.append(scanner.open(path))
        return opened[-1]

    with running(WedgeReader("desk", "fake", opener=opener)):
        assert opened[0].grabbed
    assert opened[0].fd == -1
    scanner.close()


def test_wedge_that_the_kernel_took_away_is_lost() -> None:
    class Gone(PipeDevice):
        def read(self) -> Iterator[InputEvent]:
            raise OSError(19, "No such device")

    scanner = Scanner(device=Gone)
    with running(WedgeReader("desk", "fake", opener=scanner.open)) as watch:
        scanner.scan("A")
        watch.join()
    assert isinstance(watch.error, ReaderError)
    assert watch.error.reason == "wedge-lost"
    scanner.close()


def test_wedge_that_is_not_there_is_lost_with_the_real_driver() -> None:
    watch = Watch()
    watch.start(WedgeReader("desk", "/dev/input/none"))
    watch.join()
    assert isinstance(watch.error, ReaderError)


def picture(*texts: str, kind: str = "PNG") -> bytes:
    codes = [qrcode.make(text).convert("L") for text in texts]
    canvas = Image.new(
        "L", (sum(code.width for code in codes) or 50, max((c.height for c in codes), default=50)), 255
    )
    for at, code in enumerate(codes):
        canvas.paste(code, (sum(before.width for before in codes[:at]), 0))
    octets = io.BytesIO()
    canvas.save(octets, kind)
    return octets.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred octets that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_with_one_code(kind: str) -> None:
    assert decode_picture(picture("https://shop.example/hello/K7Q2MX", kind=kind)) == [
        ("]Q1", "https://shop.example/hello/K7Q2MX")
    ]


def test_a_picture_without_a_code_is_empty() -> None:
    assert decode_picture(picture()) == []


def test_the_same_code_twice_in_a_picture_is_one() -> None:
    assert decode_picture(picture("K7Q2MX", "K7Q2MX")) == [("]Q1", "K7Q2MX")]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (picture("K7Q2MX", "A8R3NY"), "picture-several-codes"),
        (b"", "picture-unreadable"),
        (b"not a picture", "picture-unreadable"),
        (picture("K7Q2MX")[:200], "picture-unreadable"),
        (picture("K7Q2MX", kind="JPEG")[:200], "picture-unreadable"),
        (picture("K7Q2MX", kind="GIF"), "picture-unreadable"),
        (picture("K7Q2MX", kind="BMP"), "picture-unreadable"),
        (bomb(5000, 5000), "picture-oversize"),
        (bomb(12_000, 12_000), "picture-oversize"),
        (bomb(100_000, 100_000), "picture-oversize"),
        (bomb(1000, 1000), "picture-unreadable"),
        (b"\0" * (pictures.MAX_OCTETS + 1), "picture-oversize"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pictures_that_are_refused(octets: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_picture(octets)
    assert caught.value.reason == reason


def drop(spool: Path, name: str, octets: bytes) -> None:
    part = spool / f"{name}.part"
    part.write_bytes(octets)
    part.rename(spool / name)


def test_camera_reads_each_new_frame_and_nothing_older_than_itself(tmp_path: Path) -> None:
    drop(tmp_path, "old.png", picture("STALE1"))
    with running(CameraReader("cam", tmp_path, poll=0.02)) as watch:
        drop(tmp_path, "1.png", picture("K7Q2MX"))
        watch.wait_reads(1)
        drop(tmp_path, "2.png", picture("K7Q2MX"))
        drop(tmp_path, "3.jpg", picture())
        (tmp_path / "notes.txt").write_text("not a frame")
        drop(tmp_path, "4.png", b"torn")
        watch.wait_reads(2)
        drop(tmp_path, "5.png", picture("K7Q2MX", "A8R3NY"))
        watch.wait_reads(3)
        drop(tmp_path, "6.jpeg", picture("A8R3NY", kind="JPEG"))
        assert watch.wait_reads(4) == [
            {"payload": "K7Q2MX", "symbology": "]Q1"},
            {"fault": "picture-unreadable"},
            {"fault": "picture-several-codes"},
            {"payload": "A8R3NY", "symbology": "]Q1"},
        ]
    assert (tmp_path / "1.png").exists()


def test_camera_watches_one_file_that_is_replaced(tmp_path: Path) -> None:
    drop(tmp_path, "latest.jpg", picture("STALE1", kind="JPEG"))
    with running(CameraReader("cam", tmp_path / "latest.jpg", poll=0.02)) as watch:
        drop(tmp_path, "latest.jpg", picture("K7Q2MX", kind="JPEG"))
        assert watch.wait_reads(1) == [{"payload": "K7Q2MX", "symbology": "]Q1"}]


def test_camera_that_stalls_or_floods_is_a_fault(tmp_path: Path) -> None:
    with running(CameraReader("cam", tmp_path, poll=0.02, stall=0.1)) as watch:
        watch.join()
    assert isinstance(watch.error, ReaderError)
    assert watch.error.reason == "camera-stalled"
    for number in range(MAX_FRAMES + 1):
        (tmp_path / f"{number}.png").touch()
    with running(CameraReader("cam", tmp_path)) as watch:
        watch.join()
    assert isinstance(watch.error, ReaderError)
    assert watch.error.reason == "camera-spool-full"


def test_replay_plays_every_technology_in_order_and_again(tmp_path: Path) -> None:
    steps = [
        {"after": 0.01, "technology": "qr", "data": {"payload": "K7Q2MX"}},
        {"after": 0, "technology": "nfc", "data": {"uid": "04a1b2c3d4e580"}},
        {"after": 0, "technology": "rfid", "data": {"epc": 7}},
    ]
    script = tmp_path / "script.ndjson"
    script.write_text("\n".join(json.dumps(step) for step in steps) + "\n\n")
    with running(ReplayReader("demo", script)) as watch:
        watch.wait_reads(3)
        assert [read.technology for read in watch.reads] == [Technology.QR, Technology.NFC, Technology.RFID]
        assert watch.fields == [step["data"] for step in steps]
    with running(ReplayReader("demo", script, repeat=True)) as watch:
        wait_for(lambda: len(watch.reads) >= 7)
        assert watch.fields[3:6] == watch.fields[:3]
        assert len({read.id for read in watch.reads}) == len(watch.reads)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"after":1,"technology":"qr"}',
        '{"after":-1,"technology":"qr","data":{}}',
        '{"after":NaN,"technology":"qr","data":{}}',
        '{"after":1e99,"technology":"qr","data":{}}',
        '{"after":"1","technology":"qr","data":{}}',
        '{"after":1,"technology":"smell","data":{}}',
    ],
)
def test_replay_names_the_line_that_is_wrong(line: str) -> None:
    good = '{"after":1,"technology":"qr","data":{}}'
    with pytest.raises(ReaderError, match=r"Line 3 .*\[replay-script\]"):
        parse(f"{good}\n\n{line}\n{good}")


def test_every_fault_that_a_reader_reports_is_known_to_the_decoder_and_the_other_way_round() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "devices" / "readers").glob("*.py")))
    reported = set(re.findall(r'"((?:serial|wedge|nfc|picture)-[a-z-]+)"', sources))
    raised_as_reader_errors = set(re.findall(r'ReaderError\(\s*"([a-z-]+)"', sources))
    assert reported - raised_as_reader_errors == set(FAULTS)


def test_no_thread_of_a_reader_outlives_its_test() -> None:
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("watch-", "reader-"))]

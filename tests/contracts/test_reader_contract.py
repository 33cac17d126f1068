"""What every reader owes the gateway, over each of them: real drivers on simulated hardware."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
import qrcode

from devices.fake import FakeReader
from devices.reader import Reader
from devices.readers.camera import CameraReader
from devices.readers.nfc import GONE_SECONDS, NfcReader
from devices.readers.replay import ReplayReader
from devices.readers.serial import SerialReader
from devices.readers.wedge import WedgeReader
from gateway.core.errors import ReaderError
from gateway.core.model import is_id
from tests.rigs.cards import Type2
from tests.rigs.keyboards import Scanner
from tests.rigs.nfc_devices import FakeDevice
from tests.rigs.watching import Watch, running, wait_for


class Rig(Protocol):
    """A reader and the hands that work its hardware."""

    hot: bool  # whether the running reader notices that it is unplugged

    @property
    def reader(self) -> Reader: ...

    def present(self, number: int) -> None:
        """Show code or card `number` once, and take it away."""

    def expected(self, number: int) -> Mapping[str, object]: ...
    def unplug(self) -> None: ...
    def replug(self) -> None: ...
    def close(self) -> None: ...


class FakeRig:
    hot = True

    def __init__(self, tmp_path: Path) -> None:
        self.reader = FakeReader("r1")

    def present(self, number: int) -> None:
        self.reader.present(self.expected(number))

    def expected(self, number: int) -> Mapping[str, object]:
        return {"payload": f"CODE{number}"}

    def unplug(self) -> None:
        self.reader.unplug()

    def replug(self) -> None:
        self.reader.replug()

    def close(self) -> None:
        pass


class SerialRig:
    hot = True

    def __init__(self, tmp_path: Path) -> None:
        self._link = tmp_path / "scanner"
        self._hand = self._port = -1
        self.replug()
        self.reader = SerialReader("r1", str(self._link))

    def present(self, number: int) -> None:
        os.write(self._hand, f"CODE{number}\r\n".encode())

    def expected(self, number: int) -> Mapping[str, object]:
        return {"payload": f"CODE{number}"}

    def unplug(self) -> None:
        self._link.unlink()
        os.close(self._hand)
        os.close(self._port)
        self._hand = self._port = -1

    def replug(self) -> None:
        self._hand, self._port = pty.openpty()
        tty.setraw(self._port)
        self._link.symlink_to(os.ttyname(self._port))

    def close(self) -> None:
        for descriptor in (self._hand, self._port):
            if descriptor >= 0:
                os.close(descriptor)


class WedgeRig:
    hot = True

    def __init__(self, tmp_path: Path) -> None:
        self._scanner = Scanner()
        self.reader = WedgeReader("r1", "fake", opener=self._scanner.open)

    def present(self, number: int) -> None:
        self._scanner.scan(f"CODE{number}")

    def expected(self, number: int) -> Mapping[str, object]:
        return {"payload": f"CODE{number}"}

    def unplug(self) -> None:
        self._scanner.unplug()

    def replug(self) -> None:
        self._scanner.replug()

    def close(self) -> None:
        self._scanner.close()


class NfcRig:
    hot = True

    def __init__(self, tmp_path: Path) -> None:
        self._device = FakeDevice()
        self._plugged = True
        self.reader = NfcReader("r1", "usb", connect=lambda _: self._device if self._plugged else None)

    def present(self, number: int) -> None:
        frames = self._device.frames
        self._device.cards.append(Type2.with_message(bytes.fromhex(f"04A1B2C3D4E5{number:02X}"), b""))
        wait_for(lambda: self._device.frames > frames)
        self._wait_polls(10)  # more than the tap itself makes: it is over
        self._device.cards.clear()
        empty_since = time.monotonic()
        wait_for(lambda: time.monotonic() - empty_since > GONE_SECONDS)
        self._wait_polls(2)

    def _wait_polls(self, count: int) -> None:
        polls = self._device.polls
        wait_for(lambda: self._device.polls >= polls + count)

    def expected(self, number: int) -> Mapping[str, object]:
        return {"uid": f"04a1b2c3d4e5{number:02x}", "ndef": ""}

    def unplug(self) -> None:
        self._plugged, self._device.dead = False, True

    def replug(self) -> None:
        self._device = FakeDevice()
        self._plugged = True

    def close(self) -> None:
        pass


class CameraRig:
    hot = True

    def __init__(self, tmp_path: Path) -> None:
        self._spool = tmp_path / "frames"
        self._frames = 0
        self._spool.mkdir()
        self.reader = CameraReader("r1", self._spool, poll=0.02)

    def present(self, number: int) -> None:
        picture = io.BytesIO()
        qrcode.make(f"CODE{number}").save(picture)
        self._frames += 1
        part = self._spool / f"{self._frames}.part"
        part.write_bytes(picture.getvalue())
        part.rename(self._spool / f"{self._frames}.png")

    def expected(self, number: int) -> Mapping[str, object]:
        return {"payload": f"CODE{number}", "symbology": "]Q1"}

    def unplug(self) -> None:
        self._spool.rename(self._spool.with_suffix(".gone"))

    def replug(self) -> None:
        self._spool.with_suffix(".gone").rename(self._spool)

    def close(self) -> None:
        pass


class ReplayRig:
    """The script cannot be pulled out of a running replay: it is gone when it is opened the next time."""

    hot = False

    def __init__(self, tmp_path: Path) -> None:
        self._script = tmp_path / "script.ndjson"
        lines = [f'{{"after":0.05,"technology":"qr","data":{{"payload":"CODE{n}"}}}}' for n in (1, 2)]
        self._script.write_text("\n".join(lines))
        self.reader = ReplayReader("r1", self._script)

    def present(self, number: int) -> None:
        pass

    def expected(self, number: int) -> Mapping[str, object]:
        return {"payload": f"CODE{number}"}

    def unplug(self) -> None:
        self._script.rename(self._script.with_suffix(".gone"))

    def replug(self) -> None:
        self._script.with_suffix(".gone").rename(self._script)

    def close(self) -> None:
        pass


RIGS: dict[str, Callable[[Path], Rig]] = {
    "fake": FakeRig,
    "serial": SerialRig,
    "wedge": WedgeRig,
    "nfc": NfcRig,
    "camera": CameraRig,
    "replay": ReplayRig,
}


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with contextlib.closing(RIGS[request.param](tmp_path)) as made:
        yield made


def test_delivers_once_per_presentation(rig: Rig) -> None:
    with running(rig.reader) as watch:
        rig.present(1)
        assert watch.wait_reads(1)[0] == rig.expected(1)
        rig.present(2)
        assert watch.wait_reads(2) == [rig.expected(1), rig.expected(2)]
        time.sleep(0.3)  # what came twice would have come by now
        assert len(watch.reads) == 2


def test_mints_ids_that_are_valid_and_unique(rig: Rig) -> None:
    with running(rig.reader) as watch:
        rig.present(1)
        watch.wait_reads(1)
        rig.present(2)
        watch.wait_reads(2)
    assert all(is_id(read.id) for read in watch.reads)
    assert len({read.id for read in watch.reads}) == 2
    for read in watch.reads:
        assert read.reader == rig.reader.id
        assert read.time is not None
        assert read.time.tzinfo is not None


def test_stops_within_a_second(rig: Rig) -> None:
    with running(rig.reader) as watch:
        assert watch.ready.is_set()
        started = time.monotonic()
        watch.stop.set()
        watch.join()
        assert time.monotonic() - started < 1.0
    assert watch.error is None


def test_unplugged_is_a_reader_error_and_replugged_works_again(rig: Rig) -> None:
    with running(rig.reader) as watch:
        assert watch.ready.is_set()
        rig.unplug()
        if not rig.hot:
            watch.stop.set()
        watch.join()
    assert not rig.hot or isinstance(watch.error, ReaderError)

    absent = Watch()
    absent.start(rig.reader)
    absent.join()
    assert isinstance(absent.error, ReaderError)
    assert absent.error.reason
    assert not absent.ready.is_set()

    rig.replug()
    with running(rig.reader) as again:
        rig.present(1)
        assert again.wait_reads(1)[0] == rig.expected(1)

"""Telling the service manager how we are: systemd's `sd_notify` protocol, see sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from gateway.core.errors import PeerError


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a state such as `READY=1`. False where no service manager asked for it.

    Raises:
        PeerError: notify-failed, the service manager asked for it and does not take it.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    name = "\0" + address[1:] if address.startswith("@") else address  # @: the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(name)
            sender.sendall(state.encode())
    except OSError as error:
        why = f"The service manager's socket cannot be reached ({error.strerror}); check NotifyAccess= in the unit."
        raise PeerError("notify-failed", why) from error
    return True

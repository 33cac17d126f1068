"""Part of the wiring: from a read's raw bytes to the engine, by the decoders and the directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devices.decoders import decode
from devices.decoders.trust import Trust
from gateway.core.errors import LogError
from gateway.core.model import Credential, Finding
from gateway.settings_model import Settings
from gateway.shell.intake import Intake, Submit
from gateway.shell.scopes import Role
from gateway.stores import Stores, local_day


def build_intake(
    settings: Settings,
    stores: Stores,
    submit: Submit,
    now: Callable[[], datetime],
    on_fatal: Callable[[LogError], None],
) -> Intake:
    """The one way in for every read of this store."""
    trust, zone = trusted(settings, stores), ZoneInfo(settings.store.time_zone)

    def find(credentials: Sequence[Credential], at: datetime) -> Finding:
        try:
            return stores.directory.find(credentials, at, local_day(at, zone))
        except (
            LogError
        ) as error:  # our own disk: the read stays unacknowledged and comes again after the restart
            on_fatal(error)
            raise

    return Intake(
        zone_of=lambda reader: zone_of(settings, stores, reader),
        decode=lambda read, at: decode(read, trust, at),
        find=find,
        submit=submit,
        now=now,
        quarantine=stores.directory.quarantine,
        key=stores.keys.secret("command"),
    )


def trusted(settings: Settings, stores: Stores) -> Trust:
    """Whose check-in tokens count: our own, and those that the configuration names."""
    ours = stores.keys.signing("checkin")
    others = settings.tokens.trusted_keys
    keys = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in others.items()}
    keys[ours.key_id] = ours.private.public_key()
    return Trust(settings.store.id, keys, None, settings.tokens.hosts)


def zone_of(settings: Settings, stores: Stores, reader: str) -> str | None:
    """A configured reader's zone; None for one we do not know. Tablets and kiosks that are not among the
    readers carry no zone of their own: they count as the doorway's."""
    for configured in settings.readers:
        if configured.id == reader:
            return configured.zone
    kiosks = (token.scope.name for token in stores.access.list() if token.scope.role is Role.KIOSK)
    if not reader.startswith("tablet:") and reader not in kiosks:
        return None
    return next((zone.id for zone in settings.zones if zone.doorway), "store")

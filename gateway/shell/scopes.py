"""What a bearer may do: `platform`, `operator`, `clerk:{id}`, `reader:{id}`, `kiosk:{id}`.

The same scope is the MQTT user name with `/` for `:`, e.g. `clerk/marco`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.errors import Refused
from gateway.core.model import is_id


class Role(StrEnum):
    """Who a token speaks for."""

    PLATFORM = "platform"
    OPERATOR = "operator"
    CLERK = "clerk"
    READER = "reader"
    KIOSK = "kiosk"


NAMED = frozenset({Role.CLERK, Role.READER, Role.KIOSK})


@dataclass(frozen=True, slots=True)
class Scope:
    """A role and, for a clerk, a reader or a kiosk, the id of the one it is."""

    role: Role
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.role in NAMED) != (self.name is not None) or (
            self.name is not None and not is_id(self.name)
        ):
            raise Refused(
                "scope-invalid",
                "A scope is platform, operator, clerk:ID, reader:ID or kiosk:ID, "
                "where ID is 1 to 128 characters of A-Z a-z 0-9 . _ : -.",
            )

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The scope written as in the contract, e.g. `clerk:marco`.

        Raises:
            Refused: `scope-invalid`.
        """
        role, colon, name = text.partition(":")
        try:
            return cls(Role(role), name if colon else None)
        except ValueError:
            raise Refused(
                "scope-invalid",
                f"There is no such role: use one of {', '.join(Role)}, e.g. clerk:marco.",
            ) from None

    def __str__(self) -> str:
        return self.role.value if self.name is None else f"{self.role.value}:{self.name}"

    @property
    def username(self) -> str:
        """The MQTT user name, e.g. `clerk/marco`. An id has no `/`, so the first one splits it again."""
        return self.role.value if self.name is None else f"{self.role.value}/{self.name}"

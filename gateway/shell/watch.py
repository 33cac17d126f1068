"""Numbers for Prometheus, in its text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `kind` is `counter` or `gauge`; samples of one name stand together."""

    name: str
    kind: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def prometheus(samples: Iterable[Sample]) -> str:
    """The text that `/metrics` answers."""
    lines: list[str] = []
    seen: set[str] = set()
    for sample in samples:
        if sample.name not in seen:
            seen.add(sample.name)
            lines += [f"# HELP {sample.name} {sample.help}", f"# TYPE {sample.name} {sample.kind}"]
        told = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
        lines.append(
            f"{sample.name}{{{told}}} {sample.value:.17g}" if told else f"{sample.name} {sample.value:.17g}"
        )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""How the gateway is: the checks behind `/readyz`, and the numbers behind `/metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Labels = Mapping[str, str]


def prometheus(samples: Iterable[tuple[str, str, str, Labels, float]]) -> str:
    """Prometheus' text format 0.0.4 of (name, kind, help, labels, value); samples of one name stand together."""
    lines: list[str] = []
    seen: set[str] = set()
    for name, kind, text, labels, value in samples:
        if name not in seen:
            seen.add(name)
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        told = ",".join(f'{key}="{_escape(val)}"' for key, val in labels.items())
        lines.append(f"{name}{{{told}}} {value:g}" if told else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""Options of the whole test suite, and how hard Hypothesis tries."""

import pytest
from hypothesis import HealthCheck, settings

# What a commit waits for: the same examples every time. `--hypothesis-profile=fuzz` looks for new ones.
settings.register_profile("quick", max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)
settings.register_profile(
    "fuzz",
    max_examples=2_000,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` and `--full-counts`."""
    parser.addoption("--rewrite", action="store_true", help="write what the transcripts' stories say now")
    parser.addoption("--full-counts", action="store_true", help="inject every fault, not a sample of them")

"""Options of the whole test suite, how hard Hypothesis tries, and that CI skips nothing."""

import os

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


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Elsewhere a missing system program skips the tests that need it; in CI none may be missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if os.environ.get("CI") == "true" and skipped and exitstatus == 0:
        reporter.write_line(f"{skipped} skipped, and CI skips nothing: see the reasons below", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

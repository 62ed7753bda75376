"""CI's refusal to pass with tests left out: pytest's option `--no-skips`, a plugin of conftest.py."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="fail if a test was skipped or is expected to fail, or if no parity test has passed",
    )


def left_out(stats: dict[str, list]) -> str:
    """What keeps `--no-skips` from passing, given the terminal reporter's `stats`; else empty."""
    skipped = len(stats.get("skipped", [])) + len(stats.get("xfailed", []))
    if skipped:
        return f"{skipped} tests were skipped or are expected to fail"
    if not any("parity" in report.nodeid for report in stats.get("passed", [])):
        return "no test with parity in its name has passed"
    return ""


def reporter_of_no_skips(config):
    """The terminal reporter if `--no-skips` is on; None also in the worker processes of xdist."""
    return config.getoption("--no-skips") and config.pluginmanager.get_plugin("terminalreporter")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    reporter = reporter_of_no_skips(session.config)
    if reporter and left_out(reporter.stats) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if reporter_of_no_skips(config) and left_out(terminalreporter.stats):
        terminalreporter.section("--no-skips", red=True)
        terminalreporter.line(f"FAILED: {left_out(terminalreporter.stats)}", red=True)

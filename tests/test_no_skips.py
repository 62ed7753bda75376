"""CI's `--no-skips`: a run that left something out does not pass."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PROVEN = "def test_equality():\n    assert True\n"
SKIPPED = "import pytest\n\ndef test_more():\n    pytest.skip('no data')\n"
MISSING_MODULE = "import pytest\n\npytest.importorskip('no_such_module')\n"
EXPECTED = "import pytest\n\n@pytest.mark.xfail\ndef test_more():\n    assert False\n"


@pytest.fixture
def run(pytester):
    """Run pytest on the given files with the plugin that defines the option."""

    def run(files, *arguments):
        pytester.makeconftest(Path(__file__).with_name("no_skips.py").read_text())
        pytester.makepyfile(**files)
        return pytester.runpytest_subprocess(*arguments)

    return run


@pytest.mark.parametrize(
    ("files", "code", "line"),
    [
        ({"test_parity": PROVEN}, 0, "*1 passed*"),
        ({"test_parity": PROVEN, "test_more": SKIPPED}, 1, "FAILED: 1 tests were skipped*"),
        ({"test_parity": PROVEN, "test_more": MISSING_MODULE}, 1, "FAILED: 1 tests were skipped*"),
        ({"test_parity": PROVEN, "test_more": EXPECTED}, 1, "FAILED: 1 tests were skipped*"),
        ({"test_other": PROVEN}, 1, "FAILED: no test with parity in its name has passed"),
    ],
)
def test_no_skips(run, files, code, line):
    result = run(files, "--no-skips")
    assert result.ret == code
    result.stdout.fnmatch_lines([line])


def test_no_skips_sees_what_worker_processes_skipped(run):
    assert run({"test_parity": PROVEN, "test_more": SKIPPED}, "--no-skips", "-n", "1").ret == 1


def test_skips_are_fine_elsewhere(run):
    assert run({"test_more": SKIPPED}).ret == 0

"""What holds for every test."""

import os
import threading

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no fault of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _leaves_nothing_behind():
    """A thread that outlives its test fails the test."""
    before = set(threading.enumerate())
    yield
    # gRPC keeps one poller thread for as long as any of its objects lives.
    left = [thread for thread in threading.enumerate() if thread not in before and "_poll_" not in thread.name]
    for thread in left:
        thread.join(2)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"threads left behind: {alive}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With FLUSHMESH_REQUIRE_ALL, as on the machine that decides, what was skipped has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("FLUSHMESH_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped although FLUSHMESH_REQUIRE_ALL is set: {call.excinfo and call.excinfo.value}"
    return report

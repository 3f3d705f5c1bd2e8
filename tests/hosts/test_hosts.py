"""
Several hosts: what a mesh does when cables, machines and processes fail.

Eight workers on four hosts read and write all the time, and every hit is held against G4.
"""

import re

from tests.hosts.hostprocess import CALM_STALENESS
from tests.net.stalenessprocess import MAX_STALENESS

# As short as a mesh with this bound accepts.
LOST_AFTER = CALM_STALENESS

KEYS = [f"key {number}" for number in range(20)]


def test_workers_of_several_hosts_find_each_other_by_a_roster(fleet):
    """Every worker follows every worker on every host, and what any of them flushes is applied in all."""
    fleet.load(*fleet.workers)

    for name, worker in fleet.workers.items():
        assert fleet.holders(name) == list(fleet.workers)
        assert worker("flush and wait", key=name) == "acknowledged"
        assert fleet.holders(name) == []
    assert fleet.judge().violations == []


def test_workers_of_several_hosts_find_each_other_by_mdns(fleet_of):
    """Without any address every worker finds every other by multicast, on its own host and on the others."""
    fleet = fleet_of(peers=[], mdns=True)
    fleet.load("a flush")

    assert fleet["a1"]("flush and wait", key="a flush") == "acknowledged"

    assert fleet.holders("a flush") == []
    assert fleet.judge().violations == []


def test_a_cable_pulled_for_a_moment_costs_no_entry(fleet):
    """After a cut that is shorter than max_staleness every missed flush is applied, and nothing else is lost."""
    fleet.load("cut", "rest", *KEYS)
    fleet.network.unplug(fleet.host("a"))

    fleet["a1"]("flush", key="cut")
    fleet["b1"]("flush", key="rest")
    fleet.let_work(0.5 * MAX_STALENESS)
    assert fleet.holders("rest") == ["a1", "a2"]
    fleet.network.plug_in(fleet.host("a"))
    fleet.recovers("a cable was pulled for a second")

    assert fleet.holders("cut") == fleet.holders("rest") == []
    assert [fleet.holders(key) for key in KEYS] == [list(fleet.workers)] * len(KEYS)
    assert fleet.judge().violations == []


def test_a_cable_pulled_for_long_costs_freshness_for_max_staleness(fleet):
    """In a cut that is longer than max_staleness nobody serves what is older; after it every flush is applied."""
    fleet.load("cut", "rest")
    fleet.network.unplug(fleet.host("a"))

    fleet["a1"]("flush", key="cut")
    fleet["b1"]("flush", key="rest")
    fleet.let_work(2.5 * MAX_STALENESS)
    assert all(worker("status")["proof_age"] > 2 * MAX_STALENESS for worker in fleet.workers.values())
    fleet.network.plug_in(fleet.host("a"))
    fleet.recovers("a cable was pulled for five seconds")

    assert fleet.holders("cut") == fleet.holders("rest") == []
    assert fleet.judge().violations == []


def test_two_hosts_that_cannot_reach_each_other_let_entries_run_out(fleet_of):
    """Two hosts that others reach, but not each other, serve by G4 even beyond lost_after; the others lose no proof."""
    fleet = fleet_of(lost_after=LOST_AFTER)
    fleet.load("cut")
    fleet.network.part(fleet.host("a"), fleet.host("b"))

    fleet["a1"]("flush", key="cut")
    fleet.let_work(LOST_AFTER + 1.5)
    for worker in fleet.on("a", "b"):
        status = worker("status")
        assert status["proof_age"] > LOST_AFTER
        assert re.search(
            r"^[ab][12] at .* is (out of reach|connected but does not answer)"
            r"|^nothing comes back from 10\.77\.0\.[12]:",
            status["running_out"],
        )
    assert all(worker("status")["proof_age"] < MAX_STALENESS / 2 for worker in fleet.on("c", "d"))
    fleet.network.rejoin(fleet.host("a"), fleet.host("b"))
    fleet.recovers("two hosts were parted for eight seconds")

    assert fleet.holders("cut") == []
    assert fleet.judge().violations == []


def lose_power(fleet, host):
    """Have *host* vanish for good, although the roster goes on naming it."""
    vanished = fleet.host(host)
    fleet.network.unplug(vanished)
    for worker in fleet.on(host):
        fleet.crash(worker.name)
    fleet.forget(vanished)


def test_a_host_that_vanishes_while_it_is_named_holds_the_proof(fleet_of):
    """Where a host loses its power, the others serve by G4 for as long as it is named, until a person gives it up."""
    fleet = fleet_of(lost_after=LOST_AFTER)
    lose_power(fleet, "d")

    fleet.let_work(2 * LOST_AFTER)
    for worker in fleet.workers.values():
        status = worker("status")
        assert status["proof_age"] > 1.5 * LOST_AFTER
        assert re.search(r"(d[12] at|from) 10\.77\.0\.4:.* take it out of the roster", status["running_out"])
    assert all(worker("give up", key="10.77.0.4:7946-7953") for worker in fleet.workers.values())
    fleet.recovers("a vanished host was given up by hand")

    assert fleet.judge().violations == []


def test_a_host_that_vanishes_is_served_without_and_then_forgotten(fleet_of):
    """With give_up_silent, the others serve by G4 until then, and go on without it."""
    fleet = fleet_of(lost_after=LOST_AFTER, give_up_silent=LOST_AFTER)
    lose_power(fleet, "d")

    fleet.let_work(LOST_AFTER - 1.0)
    assert all(worker("status")["proof_age"] > MAX_STALENESS for worker in fleet.workers.values())
    fleet.recovers("a host had vanished")

    assert fleet.judge().violations == []


def test_a_killed_worker_is_replaced_at_its_address(fleet):
    """A worker that is killed costs freshness until another answers in its place."""
    fleet.crash("a1")
    fleet.let_work(1.5 * MAX_STALENESS)
    assert all(worker("status")["proof_age"] > MAX_STALENESS for worker in fleet.on("b", "c", "d"))

    fleet.restart("a1")
    fleet.recovers("a killed worker was started again")

    assert fleet.judge().violations == []


def test_a_stopped_worker_serves_nothing_stale_when_it_goes_on(fleet):
    """A worker that is stopped misses flushes; when it goes on it serves none of what was flushed too long ago."""
    fleet.load("stopped")
    fleet.freeze("a1")

    fleet["b1"]("flush", key="stopped")
    fleet.let_work(2 * MAX_STALENESS)
    fleet["a1"].thaw()
    fleet.recovers("a worker was stopped for four seconds")

    assert fleet.holders("stopped") == []
    assert fleet.judge().violations == []

"""The planted bugs that are found at once; `make mutants` hunts for all of them."""

import pytest

from flushmesh.protocol.peer import Peer
from tests.simulation.hunting import hunt
from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import StaleMutantError, mutant, planted

QUICK = (
    "a vouch speaks for less than the head",
    "a silent peer is left out of the minimum",
    "acknowledged before it is applied",
    "acknowledged because it was sent",
    "the journal lets go without moving its floor",
    "flushes are numbered with the other records",
    "a goodbye overtakes the journal",
    "an id is kept across a restart",
    "no member is recorded",
    "a member just heard of does not hold the proof",
    "a departure always costs trust",
    "an address that does not answer counts as nobody",
    "names do not count",
    "silence counts as a refusal",
    "a silent peer that is still named is given up",
    "what a peer says is no sign of life",
    "distrust empties the cache at once",
    "a flush does not revoke the running load",
    "a late caller joins a revoked load",
    "a hit reads the clock first",
    "a flushed tag is not remembered for the loads that run",
    "a caller after a flush of a tag is given the old value",
    "a write keeps its value although a tag of it was flushed",
    "what is older than was demanded is stored",
    "a flush with a version lets go of nothing",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name):
    """A bug in a rule shows within a few seeds, and the same seed is clean without it."""
    assert hunt(name, tries_max=100).by


@pytest.mark.parametrize("name", MUTANTS)
def test_no_planted_bug_is_stale(name):
    """What a mutant replaces is in the code exactly once, and is there again when the mutant is gone."""
    for _ in range(2):
        with planted(MUTANTS[name]):
            pass


def test_a_stale_mutant_is_an_error():
    """A mutant whose text has gone from the code never counts as found, and leaves nothing behind."""
    target = "flushmesh.protocol.peer:Peer.take_vouch"
    stale = mutant("stale", (target, "self.vouched_once = True", "pass"), (target, "what nobody wrote", ""))
    before = Peer.take_vouch

    with pytest.raises(StaleMutantError), planted(stale):
        pass

    assert Peer.take_vouch is before

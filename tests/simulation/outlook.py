"""
The outlook: whether all follow all, how old the proofs are, and whether a living node was given up with reason.

These are the checkers that look at nodes as a whole, while nothing goes wrong or once it
has ended.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from flushmesh.protocol.membership import GOODBYE_MAX
from flushmesh.protocol.trust import Phase
from tests.simulation.network import CONNECT_MAX, Port
from tests.simulation.plan import DNS, DNS_LAG, MDNS

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run

# A node that has just started may look around for so long before its proof counts as old.
START_MAX = 1.5


def check_calm(run: Run) -> None:
    """While nothing goes wrong no proof stands still for half the bound: it would cost hits."""
    for process in run.alive():
        if run.world.now < process.started + _start_max(run) or run.checkers.acquaintance.unreachable(process):
            continue
        if run.plan.discovery == DNS and not _knows_the_pods(process):
            continue
        age = process.clock() - process.node.trust.at
        bound = run.plan.max_staleness
        run.checkers.oldest_proof = max(run.checkers.oldest_proof, age / bound)
        # An address that refuses is tried every quarter of the bound, and a bound of a second allows five pings.
        if age > max(bound / 2, bound / 4 + 2 * run.plan.ping_interval):
            run.checkers.fail("calm", f"the proof of {process} is {age:.2f} s old: {_why(process)}")


def _start_max(run: Run) -> float:
    """Return for how long a node may look around; it may miss a visitor meanwhile, and waits for its goodbye."""
    return START_MAX + (GOODBYE_MAX + START_MAX if run.plan.visits or run.plan.partial else 0.0)


def _knows_the_pods(process: Process) -> bool:
    """Return whether *process* can know that a silent address which it is told of is that of a pod that is gone."""
    newcomer = process.world.now < process.started + DNS_LAG + CONNECT_MAX
    return not newcomer and not process.site.visitor


def check_peace(run: Run) -> None:
    """Nodes that chains connect follow each other, and every proof moves."""
    checkers = run.checkers
    for process in run.alive():
        following = {peer.identity.id for peer in process.node.peers if peer.followed}
        for other in run.alive():
            acquainted = other in checkers.acquaintance.linked(process) or other.address in process.names
            apart = process.port is not Port.OPEN and other.port is not Port.OPEN
            if other is not process and acquainted and not apart and other.node.identity.id not in following:
                peer = process.node.peers.get(other.node.identity.id)
                checkers.fail("healing", f"{process} does not follow {other}, {peer and peer.state.value}")
        if checkers.acquaintance.unreachable(process):
            continue
        age = process.clock() - process.node.trust.at
        # An address that refuses is tried every quarter of the bound.
        patience = run.plan.max_staleness / 4 + 3 * run.plan.ping_interval
        if age > patience + 20 * run.plan.delay * (1 + run.plan.spread):
            checkers.fail("healing", f"the proof of {process} is {age:.2f} s old: {_why(process)}")
        if process.node.trust.phase is not Phase.JOINED:
            checkers.fail("healing", f"{process} is still {process.node.trust.phase.value}: {_why(process)}")


def _why(process: Process) -> str:
    node, now = process.node, process.clock()
    last = min(node.peers, key=lambda peer: peer.vouched, default=None)
    held = [address.text for address in node.trust.holding(node.peers, node.addresses, now)]
    oldest = last and f"{last.identity.name} is {last.state.value}, vouched {now - last.vouched:.2f} s ago"
    return f"{node.why(now)} ({node.trust.phase.value}; {oldest}; named: {held})"


def unfounded(process: Process, other: Process, address: str) -> str:
    """
    Return why *process* had no reason to give up *other*, which lives; empty if it had.

    It may if nothing came for `lost_after` while it was awake itself, and no discovery named
    the address meanwhile; or for `give_up_silent`.  It may also if it knows the other from
    hearsay only, and a firewall refuses on behalf of that one.
    """
    plan, now = process.run.plan, process.clock()
    if other not in process.heard:
        if other.port is Port.REFUSING:
            return ""
        # What others report of it counts, and they have told how long ago it was.
        silence = inf
    else:
        silence = now - process.heard[other]
    patience = plan.lost_after
    lately = process.named_until.get(address, -inf) > now - plan.lost_after
    if (address in process.names or lately) and (plan.discovery != MDNS or process.site.visitor):
        patience = plan.give_up_silent
    if silence < patience * 0.999:
        return f"it was silent for {silence:.2f} s, of {patience:.2f} s"
    return ""

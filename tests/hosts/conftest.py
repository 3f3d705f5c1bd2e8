"""Several hosts, in network namespaces; needs root."""

import pytest

from tests.hosts.fleet import HOSTS, REPORT, Fleet
from tests.hosts.network import Network, clear_away, why_none


@pytest.fixture(scope="session")
def namespaces_possible():
    """Network namespaces can be made here, and none are left from a run that was killed."""
    if missing := why_none():
        pytest.skip(missing)
    clear_away()
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("")


@pytest.fixture
def fleet_of(namespaces_possible, tmp_path, request):
    """Start a fleet with these options of the mesh, and take it down after the test, its network included."""
    networks, fleets = [], []

    def start(**options: object) -> Fleet:
        network = Network(*HOSTS)
        networks.append(network)
        roster = [f"{host.address}:7946-7953" for host in network.hosts.values()]
        fleet = Fleet(network, tmp_path, **{"peers": roster, **options})
        fleets.append(fleet)
        with REPORT.open("a") as report:
            report.write(f"\n{request.node.name}\n")
        fleet.start()
        return fleet

    yield start
    for fleet in fleets:
        fleet.end()
    for network in networks:
        network.remove()


@pytest.fixture
def fleet(fleet_of):
    """Eight workers on four hosts that know each other by a roster, each of which follows all others."""
    return fleet_of()

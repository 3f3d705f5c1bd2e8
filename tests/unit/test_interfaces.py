"""On which interfaces a node is announced, as what, and which announcements of others make sense."""

from ipaddress import ip_interface

import pytest

from flushmesh.discovery.interfaces import Choice, Interface, NoInterfaceError, choose, interfaces, sensible


def interface(name, *places):
    return Interface(name, tuple(ip_interface(place) for place in places))


LO = interface("lo", "127.0.0.1/8", "::1/128")
ETH0 = interface("eth0", "10.0.0.5/24", "fd00::5/64", "fe80::5/64")
ETH1 = interface("eth1", "192.168.7.5/24", "169.254.1.1/16")
DOCKER0 = interface("docker0", "172.17.0.1/16")
HERE = [LO, ETH0, ETH1, DOCKER0]


@pytest.mark.parametrize(
    ("wanted", "listens", "choice"),
    [
        ((), ["127.0.0.1"], Choice(("127.0.0.1",), ("127.0.0.1",))),
        ((), ["127.0.0.1", "::1"], Choice(("127.0.0.1",), ("127.0.0.1", "::1"))),
        (("lo",), ["::1"], Choice(("127.0.0.1",), ("::1",))),
        ((), ["10.0.0.5"], Choice(("10.0.0.5", "fe80::5"), ("10.0.0.5",))),
        ((), ["fd00::5"], Choice(("10.0.0.5", "fe80::5"), ("fd00::5",))),
        (("eth1",), ["10.0.0.5"], Choice(("169.254.1.1",), ("10.0.0.5",))),
        (
            (),
            ["0.0.0.0"],
            Choice(
                ("10.0.0.5", "fe80::5", "169.254.1.1", "172.17.0.1"),
                ("10.0.0.5", "192.168.7.5", "172.17.0.1"),
            ),
        ),
        (("eth0",), ["0.0.0.0"], Choice(("10.0.0.5", "fe80::5"), ("10.0.0.5",))),
        (("eth0",), ["::"], Choice(("10.0.0.5", "fe80::5"), ("10.0.0.5", "fd00::5"))),
        (("fd00::5",), ["::"], Choice(("10.0.0.5", "fe80::5"), ("fd00::5",))),
    ],
)
def test_concrete_addresses_are_announced(wanted, listens, choice):
    """Never a wildcard nor a link-local address; loopback stays on loopback."""
    found = choose(HERE, wanted, listens)

    assert (set(found.announced), len(found.multicast)) == (set(choice.announced), len(choice.multicast))


def test_a_machine_without_a_network_announces_to_itself():
    """Where loopback is all there is, processes that listen everywhere find each other on it."""
    assert choose([LO], (), ["0.0.0.0"]) == Choice(("127.0.0.1",), ("127.0.0.1",))


@pytest.mark.parametrize(
    ("wanted", "listens", "words"),
    [
        (("wlan0",), ["0.0.0.0"], "no interface is wlan0; there are lo, eth0, eth1, docker0"),
        (("eth0", "10.9.9.9"), ["0.0.0.0"], "no interface is 10.9.9.9; there are"),
        (("eth0",), ["127.0.0.1"], "a node that listens on 127.0.0.1 cannot be reached through eth0"),
        (("lo",), ["10.0.0.5"], "a node that listens on 10.0.0.5 cannot be reached through lo"),
        (("169.254.1.1",), ["0.0.0.0"], "a node that listens on 0.0.0.0 cannot be reached through 169.254.1.1"),
    ],
)
def test_a_choice_that_nobody_could_use_is_named(wanted, listens, words):
    """What is wrong is said with what is there."""
    with pytest.raises(NoInterfaceError, match=f"^{words}"):
        choose(HERE, wanted, listens)


@pytest.mark.parametrize(
    ("found", "proposed"),
    [
        (["10.0.0.6", "172.17.0.1"], ["10.0.0.6"]),
        (["10.0.0.6", "203.0.113.6"], ["10.0.0.6"]),
        (["203.0.113.6", "198.51.100.6"], ["203.0.113.6", "198.51.100.6"]),
        (["10.0.0.5", "192.168.7.5", "172.17.0.1"], ["10.0.0.5"]),
        (["127.0.0.1"], ["127.0.0.1"]),
        (["::1"], ["::1"]),
        (["fe80::9", "169.254.3.3", "0.0.0.0"], []),
        (["10.0.0.6", "fd00::6", "10.0.0.6"], ["10.0.0.6", "fd00::6"]),
    ],
)
def test_of_several_addresses_those_that_make_sense_are_proposed(found, proposed):
    """An address that is also this machine's own leads back here, and one on a common network comes first."""
    assert sensible(found, HERE) == proposed


def test_this_machine_has_a_loopback_interface():
    """The interfaces of the system are read with their names and addresses."""
    assert any(interface.is_loopback and interface.goes_by("127.0.0.1") for interface in interfaces())

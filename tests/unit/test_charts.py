"""The charts of the benchmarks: what is drawn of the results, and that the same results give the same file."""

import json

import pytest
from charts import groups, propagation_times, spoken, write
from measure import Figure, Report


def found(tmp_path, *pairs):
    """Return what a report of these pairs of names writes, ours taking half as long."""
    report = Report()
    for ours, rival in pairs:
        report.compare({ours: Figure(ours, [1.0], "µs"), rival: Figure(rival, [2.0], "µs")}, ours, rival)
    report.write(tmp_path / "report.json")
    return json.loads((tmp_path / "report.json").read_text())


def test_rivals_stand_below_the_figure_of_ours_they_were_measured_beside(tmp_path):
    """What all names of a group end in is its title; the first bar is ours."""
    results = found(
        tmp_path,
        ("flush, 1 peer, p50", "PUBLISH, 1 peer, p50"),
        ("flush, 1 peer, p50", "SET, 1 peer, p50"),
        ("flush, 1 peer, p99", "PUBLISH, 1 peer, p99"),
    )

    (group,) = groups(results, "p50$")
    assert group.title == "1 peer, p50"
    assert [bar.label for bar in group.bars] == ["flush", "PUBLISH", "SET"]
    assert [bar.of_ours for bar in group.bars] == [None, 2.0, 2.0]


def test_names_with_nothing_in_common_have_no_title(tmp_path):
    """A name is never used up by the title."""
    (group,) = groups(found(tmp_path, ("get, p50", "p50")), "")

    assert (group.title, [bar.label for bar in group.bars]) == ("", ["get, p50", "p50"])


def test_propagation_is_sorted_by_load_peers_and_relay(tmp_path):
    """The names of propagation's figures say what they are of; ours come first."""
    times = propagation_times(
        found(
            tmp_path,
            ("ours, to 1 peer, idle, p50", "NATS, to 1 peer, idle, p50"),
            ("ours, to the last of 3, idle, p99", "NATS, to the last of 3, idle, p99"),
        )
    )

    assert times == {
        ("idle", 1, "ours"): {50: 1.0},
        ("idle", 3, "ours"): {99: 1.0},
        ("idle", 1, "NATS"): {50: 2.0},
        ("idle", 3, "NATS"): {99: 2.0},
    }


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (116.9, "ns", "117 ns"),
        (1_395.0, "ns", "1.4 µs"),
        (999.9, "µs", "1 ms"),
        (0.785, "µs", "785 ns"),
        (2_500.0, "ms", "2.5 s"),
        (72.25, "k/s", "72.2 k/s"),
    ],
)
def test_times_are_said_in_the_unit_that_suits(value, unit, said):
    """A time has one to three digits before the point; what is no time keeps its unit."""
    assert spoken(value, unit) == said


def test_the_same_results_give_the_same_chart(tmp_path):
    """A chart has neither a date nor a random name in it; results with nothing to show leave no chart."""
    for name, pair in (("classic", ("put", "SQLite, then SET")), ("hit", ("memory", "memory of another"))):
        found(tmp_path, pair)
        (tmp_path / "report.json").rename(tmp_path / f"{name}.json")

    (chart,) = write(tmp_path)
    first = chart.read_text()
    write(tmp_path)

    assert chart == tmp_path / "classic.svg"
    assert chart.read_text() == first
    assert "SQLite, then SET" in first

"""The benchmarks' own arithmetic: ratios, verdicts, percentiles, and what is written of them."""

import json

import pytest
from measure import Comparison, Figure, Report, interleaved, percentile


def comparison(ours, rival, **promised):
    return Comparison(Figure("ours", ours), Figure("rival", rival), **promised)


def test_a_ratio_is_taken_within_each_round():
    """The ratio is the median of the rounds' ratios, not the ratio of the medians."""
    both = comparison([1.0, 20.0, 3.0], [2.0, 10.0, 3.0])

    assert both.ratio.samples == [0.5, 2.0, 1.0]
    assert both.ratio.median == 1.0


def test_rounds_that_one_side_lacks_are_refused():
    """Figures of different numbers of rounds have no ratio."""
    with pytest.raises(ValueError, match="shorter"):
        _ = comparison([1.0, 2.0], [1.0]).ratio


@pytest.mark.parametrize(
    ("promised", "verdict", "target"),
    [
        ({}, "", ""),
        ({"at_most": 2.0}, "met", "<= 2"),
        ({"at_most": 1.9}, "MISSED", "<= 1.9"),
        ({"at_least": 2.0}, "met", ">= 2"),
        ({"at_least": 2.1}, "MISSED", ">= 2.1"),
        ({"at_least": 1.0, "at_most": 3.0}, "met", "<= 3, >= 1"),
    ],
)
def test_a_promise_is_met_up_to_its_bound(promised, verdict, target):
    """A ratio that equals its bound meets it, whichever side the bound is on."""
    both = comparison([2.0, 4.0, 8.0], [1.0, 2.0, 4.0], **promised)

    assert both.verdict == verdict
    assert both.target == target


def test_half_of_the_samples_lie_within_the_spread():
    """The spread reaches from the first quartile to the third, and never beyond what was measured."""
    assert Figure("f", [float(number) for number in range(1, 6)]).spread == (2.0, 4.0)
    assert Figure("f", [1.0, 9.0]).spread == (3.0, 7.0)
    assert Figure("f", [3.0]).spread == (3.0, 3.0)


def test_percentiles_are_samples():
    """A percentile is a value that was measured; the last of them is the worst."""
    samples = list(range(100, 0, -1))

    assert percentile(samples, 50) == 51
    assert percentile(samples, 99) == 100
    assert percentile(samples, 100) == 100
    assert percentile([7], 50) == 7


def test_contenders_take_turns_and_the_loop_is_taken_off():
    """Each round runs every contender once, in order, and subtracts what the loop took."""
    turns = []

    def taking(name, seconds):
        def run(keys):
            turns.append(name)
            return seconds

        return run

    contenders = {"a": taking("a", 3e-9), "b": taking("b", 5e-9)}
    figures = interleaved(contenders, ["key"], rounds=2, loop=taking("loop", 1e-9))

    assert turns == ["loop", "a", "b"] * 4  # Two rounds warm up.
    assert figures["a"].samples == pytest.approx([2.0, 2.0])
    assert figures["b"].samples == pytest.approx([4.0, 4.0])


def test_a_rival_that_could_not_be_had_is_left_out():
    """A comparison with a figure that is missing is no line and no error."""
    report = Report()

    report.compare({"ours": Figure("ours", [1.0])}, "ours", "rival", at_most=1.0)

    assert report.comparisons == []


def test_what_is_written_can_be_read_again(tmp_path):
    """The results name the machine, both bounds and the verdict, and keep small ratios apart from nothing."""
    report = Report(notes=["a note"])
    report.compare({"a": Figure("a", [1.0]), "b": Figure("b", [2e3])}, "a", "b", at_most=0.01)

    report.write(tmp_path / "results" / "it.json")

    found = json.loads((tmp_path / "results" / "it.json").read_text())
    (only,) = found["comparisons"]
    assert found["machine"]["cores"]
    assert found["notes"] == ["a note"]
    assert (only["ratio"], only["at_most"], only["at_least"], only["verdict"]) == (0.0005, 0.01, None, "met")

"""
Charts of the results: an SVG beside each JSON in benchmarks/results.

    .venv/bin/python benchmarks/charts.py [--results benchmarks/results]

Ours is in colour, the rivals are grey.  A bar is a median, the line at its end shows what half
of the samples lie within.  Where the longest is a hundred times the shortest the axis is
logarithmic; a bar's length says nothing then, its end does.  The same results give the same file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tables import place

OURS: Final = "#0b7285"
RIVAL: Final = "#adb5bd"
INK: Final = "#343a40"
FAINT: Final = "#868e96"

WIDTH: Final = 9.0
BAR: Final = 0.25  # Inches.
LOGARITHMIC_FROM: Final = 100.0
SECONDS: Final = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

STYLE: Final = {
    "axes.edgecolor": FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "flushmesh",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Bar:
    """One median; *of_ours* is how many times ours it is, None if it is ours."""

    label: str
    unit: str
    median: float
    spread: tuple[float, float]
    of_ours: float | None = None

    @property
    def said(self) -> str:
        """What stands at the end of the bar."""
        times = "" if self.of_ours is None else f", {short(self.of_ours, 2)} times ours"
        return spoken(self.median, self.unit) + times


@dataclass(frozen=True)
class Group:
    """One figure of ours and those beside it; the title is what their names have in common."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Bars:
    """A chart of comparisons: those whose figure of ours has a name that *pattern* is found in."""

    title: str
    axis: str
    pattern: str = ""


def groups(found: Mapping[str, Any], pattern: str) -> list[Group]:
    """Return what is to be drawn of the comparisons in *found*, in their order."""
    beside: dict[str, list[Bar]] = {}
    for each in found["comparisons"]:
        name = each["ours"]["name"]
        if re.search(pattern, name):
            bars = beside.setdefault(name, [_bar(each["ours"])])
            bars.append(_bar(each["rival"], of_ours=1.0 / each["ratio"]))
    return [_group(bars) for bars in beside.values()]


def _bar(figure: Mapping[str, Any], of_ours: float | None = None) -> Bar:
    low, high = figure["half_within"]
    return Bar(figure["name"], figure["unit"], figure["median"], (low, high), of_ours)


def _group(bars: Sequence[Bar]) -> Group:
    names = [bar.label.split(", ") for bar in bars]
    common = 0
    while common + 1 < min(map(len, names)) and len({name[-common - 1] for name in names}) == 1:
        common += 1
    title = ", ".join(names[0][len(names[0]) - common :])
    labels = [", ".join(name[: len(name) - common]) for name in names]
    return Group(
        title,
        [Bar(label, bar.unit, bar.median, bar.spread, bar.of_ours) for label, bar in zip(labels, bars, strict=True)],
    )


def short(value: float, digits: int = 3) -> str:
    """Return *value* with so many *digits* that count, and nothing after the point from a hundred on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{digits}g}"


def spoken(value: float, unit: str) -> str:
    """Return *value* with the unit that suits its size, if it is a time."""
    if unit not in SECONDS:
        return f"{short(value)} {unit}"
    seconds = value * SECONDS[unit]
    suited = next((name for name in ("s", "ms", "µs") if seconds >= 0.9995 * SECONDS[name]), "ns")
    return f"{short(seconds / SECONDS[suited])} {suited}"


def draw_bars(plot: Any, found: Mapping[str, Any], chart: Bars) -> Any:
    """Return a figure with a bar for each median, ours and its rivals one below the other; None if there is none."""
    drawn = groups(found, chart.pattern)
    if not drawn:
        return None
    rows = sum(len(group.bars) + 1 + bool(group.title) for group in drawn)
    figure, axes = plot.subplots(figsize=(WIDTH, rows * BAR + 1.3), layout="constrained")
    _scale(axes, [bar for group in drawn for bar in group.bars])
    row, labels = 0.0, []
    for group in drawn:
        if group.title:
            axes.text(0.0, row, f" {group.title}", transform=axes.get_yaxis_transform(), va="center", weight="bold")
            row += 1
        for bar in group.bars:
            _draw_bar(axes, row, bar)
            labels.append((row, bar))
            row += 1
        row += 1
    axes.set_ylim(row - 1.3, -0.8)
    axes.set_yticks([at for at, _ in labels], [bar.label for _, bar in labels])
    for tick, (_, bar) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(OURS if bar.of_ours is None else INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(chart.axis)
    _finish(figure, chart.title, found)
    return figure


def _draw_bar(axes: Any, row: float, bar: Bar) -> None:
    low, high = bar.spread
    left, _ = axes.get_xlim()
    axes.barh(row, bar.median - left, left=left, height=0.75, color=RIVAL if bar.of_ours is not None else OURS)
    axes.plot([low, high], [row, row], color=INK, linewidth=0.8)
    axes.annotate(bar.said, (max(high, bar.median), row), (4, 0), textcoords="offset points", va="center")


def _scale(axes: Any, bars: Sequence[Bar]) -> None:
    least, most = min(bar.median for bar in bars), max(max(bar.median, bar.spread[1]) for bar in bars)
    if most / least >= LOGARITHMIC_FROM:
        axes.set_xscale("log")
        # What stands at the ends of the bars needs a third as much room as they do.
        left = least / 3
        axes.set_xlim(left, most * (most / left) ** 0.33)
        axes.minorticks_off()
    else:
        axes.set_xlim(0.0, most * 1.35)
    unit = bars[0].unit
    axes.xaxis.set_major_formatter(lambda value, _position: spoken(value, unit) if value else "0")


def draw_propagation(plot: Any, found: Mapping[str, Any]) -> Any:
    """Return a figure of how soon the last of so many peers has applied a flush; None if there is nothing of it."""
    times = propagation_times(found)
    if not times:
        return None
    loads = list(dict.fromkeys(load for load, _, _ in times))
    peers = sorted({number for _, number, _ in times})
    relays = list(dict.fromkeys(relay for _, _, relay in times))
    every = [value for percentiles in times.values() for value in percentiles.values()]
    least, most = min(every), max(every)
    rows = len(peers) * (len(relays) + 1)
    figure, panels = plot.subplots(
        1, len(loads), figsize=(WIDTH, rows * BAR + 1.3), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, load in zip(panels[0], loads, strict=True):
        row, ticks = 0.0, []
        for number in peers:
            reach = "to 1 peer" if number == 1 else f"to the last of {number}"
            axes.text(0.0, row, f" {reach}", transform=axes.get_yaxis_transform(), va="center", weight="bold")
            row += 1
            for relay in relays:
                if percentiles := times.get((load, number, relay)):
                    _draw_percentiles(axes, row, percentiles, ours=relay == relays[0])
                    ticks.append((row, relay))
                    row += 1
        axes.set_xscale("log")
        axes.set_xlim(least / 2, most * (most / least) ** 0.33)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _position: spoken(value, "µs"))
        axes.set_ylim(row - 0.3, -0.8)
        axes.set_yticks([at for at, _ in ticks], [relay for _, relay in ticks])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{load}: time at p50, and a line to p99")
    for tick, (_, relay) in zip(panels[0][0].get_yticklabels(), ticks, strict=True):
        tick.set_color(OURS if relay == relays[0] else INK)
    _finish(figure, "From the call in one process to its application in the last of the others", found)
    return figure


def propagation_times(found: Mapping[str, Any]) -> dict[tuple[str, int, str], dict[int, float]]:
    """Return the microseconds by percentile, of each load, number of peers and relay, ours first."""
    times: dict[tuple[str, int, str], dict[int, float]] = {}
    for side in ("ours", "rival"):
        for each in found["comparisons"]:
            named = re.fullmatch(r"(.+), to (?:the last of )?(\d+)(?: peer)?, (.+), p(\d+)", each[side]["name"])
            if named:
                relay, peers, load, percent = named.groups()
                times.setdefault((load, int(peers), relay), {})[int(percent)] = each[side]["median"]
    return times


def _draw_percentiles(axes: Any, row: float, percentiles: Mapping[int, float], *, ours: bool) -> None:
    colour = OURS if ours else FAINT
    axes.plot([percentiles[50], percentiles[99]], [row, row], color=colour, linewidth=1.2)
    axes.plot([percentiles[99]], [row], color=colour, marker="|", markersize=7)
    axes.plot([percentiles[50]], [row], color=colour, marker="o", markersize=5)
    said = f"{spoken(percentiles[50], 'µs')}, {spoken(percentiles[99], 'µs')}"
    axes.annotate(said, (percentiles[99], row), (5, 0), textcoords="offset points", va="center", fontsize=7)


def draw_crowd(plot: Any, found: Mapping[str, Any]) -> Any:
    """Return a figure of what many nodes cost, one panel for each cost."""
    colours = {"flushmesh": OURS, "Redis pub/sub": RIVAL}
    relays = {relay: [row for row in found["rows"] if row["relay"] == relay] for relay in colours}
    figure, panels = plot.subplots(1, 4, figsize=(WIDTH, 2.9), layout="constrained")
    costs = {
        "flush to the last, ms": ("to_last_median", 1e3),
        "memory of a node, MB": ("memory_bytes", 2.0**-20),
        "idle, % of a core": ("idle_share", 1e2),
        "connected after, s": ("connected_seconds", 1.0),
    }
    for axes, (title, (cost, factor)) in zip(panels, costs.items(), strict=True):
        highest = 0.0
        for relay, rows in relays.items():
            nodes, heights = [row["nodes"] for row in rows], [row[cost] * factor for row in rows]
            axes.plot(nodes, heights, color=colours[relay], marker="o", markersize=4)
            highest = max(highest, *heights, 0.0)
            if relay == "flushmesh":
                axes.set_xticks(nodes)
                for at, height in zip(nodes, heights, strict=True):
                    axes.annotate(
                        short(height), (at, height), (-6, 4), textcoords="offset points", ha="center", fontsize=7
                    )
        axes.set_title(title)
        axes.set_xlabel("processes")
        axes.set_ylim(0.0, highest * 1.2)
        axes.margins(x=0.15)
    title = "Processes on one machine that all tell each other; grey: subscribers of Redis pub/sub"
    _finish(figure, title, found)
    return figure


def _finish(figure: Any, title: str, found: Mapping[str, Any]) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    figure.supxlabel(place(found["machine"]), x=0.99, ha="right", fontsize=7, color=FAINT)


def _bars(title: str, axis: str, pattern: str = "") -> Callable[[Any, Mapping[str, Any]], Any]:
    return lambda plot, found: draw_bars(plot, found, Bars(title, axis, pattern))


CHARTS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "hit": _bars("A hit", "time of one hit", r"^cache\.get(_or_load)?$|^(async )?cached|clock on the wall"),
    "propagation": draw_propagation,
    "writer": _bars("What telling one peer costs the caller", "time of one call", r"1 peer.*p50$"),
    "throughput": _bars(
        "Flushes a second until the last peer has applied them", "thousands a second, more is better", "sustained"
    ),
    "crowd": draw_crowd,
    "classic": _bars("A thousand puts, a thousand gets", "time of each, average of a thousand one after the other"),
}


def write(results: Path) -> list[Path]:
    """Draw what there are results of in the directory *results*; return the files written.

    A run of one part alone may leave nothing that its chart shows; the file is then left as it was.
    """
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    plot = import_module("matplotlib.pyplot")
    written = []
    for name, draw in CHARTS.items():
        source = results / f"{name}.json"
        if source.exists():
            with plot.rc_context(STYLE):
                figure = draw(plot, json.loads(source.read_text()))
                if figure is None:
                    continue
                figure.savefig(source.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
                plot.close(figure)
            written.append(source.with_suffix(".svg"))
    return written


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    for path in write(parser.parse_args().results):
        print(path)


if __name__ == "__main__":
    main()

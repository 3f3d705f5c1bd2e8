"""
Tables of docs/performance.md, made of the results in benchmarks/results.

    .venv/bin/python benchmarks/tables.py

Between `<!-- propagation: idle, p50$ -->` and `<!-- end -->` the page has each comparison of
propagation.json whose figure of ours has a name that the pattern is found in, and the machine it was
measured on; after `<!-- propagation: notes ^Burst -->`, each note.  A rival that could not be had is a
line under its table; where there is nothing to compare, the notes stand in its place.  The same results
make the same page; a test holds that the page is theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
RESULTS: Final = ROOT / "benchmarks" / "results"

_BLOCK: Final = re.compile(r"(?P<begin><!-- (?P<name>\w+): (?P<pattern>.+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_HEAD: Final = "| ours | | beside | | ours by it | target | |\n|---|--:|---|--:|--:|--:|---|\n"

# What a note says of a rival that could not be had.
_MISSING: Final = "is not beside the others"

_NAMED: Final = ("grpcio", "uvloop", "redis", "redis-server", "nats-server")


def filled(page: str, results: Path) -> str:
    """Return *page* with every table made anew of *results*; raise LookupError if a pattern is found in nothing."""
    return _BLOCK.sub(
        lambda block: block["begin"] + _table(results, block["name"], block["pattern"]) + block["end"], page
    )


def _table(results: Path, name: str, pattern: str) -> str:
    found = json.loads((results / f"{name}.json").read_text())
    if pattern.startswith("notes "):
        return "".join(f"{note}.\n" for note in found["notes"] if re.search(pattern.removeprefix("notes "), note))
    if "rows" in found:
        table = "".join(_crowd(found["rows"]))
    elif found["comparisons"]:
        named = [each for each in found["comparisons"] if re.search(pattern, each["ours"]["name"])]
        if not named:
            raise LookupError(f"nothing in {name}.json is named like {pattern!r}")
        table = _HEAD + "".join(_rows(named))
    else:
        # Without a rival there is nothing to compare: the notes say who is missing.
        return _listed(found["notes"]) + f"\n{described(found['machine'])}\n"
    if missing := _listed(note for note in found["notes"] if _MISSING in note):
        table += f"\n{missing}"
    return f"{table}\n{described(found['machine'])}\n"


def _listed(notes: Iterable[str]) -> str:
    return "".join(f"- {note}.\n" for note in dict.fromkeys(notes))


def _rows(comparisons: list[Mapping[str, Any]]) -> Iterator[str]:
    before = None
    for each in comparisons:
        ours, rival, ratio = each["ours"], each["rival"], each["ratio"]
        mine = ["", ""] if ours == before else [ours["name"], _figure(ours)]
        before = ours
        cells = [*mine, rival["name"], _figure(rival), f"{_number(ratio)}", _target(each), each["verdict"].lower()]
        yield f"| {' | '.join(cells)} |\n"


def _crowd(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | processes | connected | memory | each peer | idle, a core | to the last, median | worst | by Redis's |\n"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|\n"
    for row in rows:
        per_peer = f"{max(0.0, row['memory_per_peer_bytes']) / 1024:.0f} KB" if "memory_per_peer_bytes" in row else ""
        cells = [
            row["relay"],
            str(row["nodes"]),
            f"{row['connected_seconds']:.2f} s",
            f"{row['memory_bytes'] / 2**20:.1f} MB",
            per_peer,
            f"{row['idle_share']:.1%}",
            f"{row['to_last_median'] * 1e3:.1f} ms",
            f"{row['to_last_worst'] * 1e3:.1f} ms",
            ", ".join(f"{what} {_number(ratio)}" for what, ratio in row.get("ratio", {}).items()),
        ]
        yield f"| {' | '.join(cells)} |\n"


def _figure(figure: Mapping[str, Any]) -> str:
    return f"{_number(figure['median'])} {figure['unit']}"


def _target(comparison: Mapping[str, Any]) -> str:
    for key, sign in (("at_most", "≤"), ("at_least", "≥")):
        if comparison.get(key) is not None:
            return f"{sign} {comparison[key]:g}"
    return ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def described(machine: Mapping[str, Any]) -> str:
    """Return a line about *machine*, with the load it had before the benchmark began."""
    versions = {**machine["packages"], **machine["servers"]}
    named = ", ".join(f"{name} {versions[name]}" for name in _NAMED if name in versions)
    return f"*{place(machine)}; {named}; load {machine['load'][0]}.*"


def place(machine: Mapping[str, Any]) -> str:
    """Say what *machine* is, in a few words."""
    return f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['python']}"


def main() -> None:
    """Make the tables of the page anew."""
    PAGE.write_text(filled(PAGE.read_text(), RESULTS))


if __name__ == "__main__":
    main()

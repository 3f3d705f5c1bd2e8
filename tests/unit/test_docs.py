"""The documentation: what is generated is current, what is linked exists."""

import json
import re
import runpy
from pathlib import Path

import pytest
from tables import PAGE, RESULTS, filled

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_the_state_diagrams_are_current():
    """docs/states.md says what the tables in the code say."""
    text = runpy.run_path(str(ROOT / "docs/states.py"))["text"]()

    assert (ROOT / "docs/states.md").read_text() == text


def test_the_tables_of_the_benchmarks_are_their_results():
    """docs/performance.md says what was measured, figure by figure."""
    assert filled(PAGE.read_text(), RESULTS) == PAGE.read_text()


def test_a_table_of_nothing_is_refused():
    """A pattern that no figure has in its name is a mistake, not an empty table."""
    with pytest.raises(LookupError, match=r"nothing in hit\.json is named like 'no such'"):
        filled("<!-- hit: no such -->\n<!-- end -->", RESULTS)


def test_who_is_missing_stands_on_the_page(tmp_path):
    """A rival that could not be had is a line under the table, once, or in its place if there is nobody else."""
    found = json.loads((RESULTS / "writer.json").read_text())
    note = "Redis pub/sub is not beside the others: not installed"
    found["notes"] = [note, note]
    (tmp_path / "writer.json").write_text(json.dumps(found))
    (tmp_path / "alone.json").write_text(json.dumps(found | {"comparisons": []}))

    page = filled("<!-- writer: . -->\n<!-- end -->\n<!-- alone: . -->\n<!-- end -->", tmp_path)

    beside, alone = page.split("<!-- alone: . -->\n")
    assert f"|\n\n- {note}.\n\n*" in beside
    assert alone.startswith(f"- {note}.\n\n*")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every relative link of a page names a file that exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_promise_names_tests_that_exist():
    """docs/guarantees.md cites tests by their names, and none of them is gone."""
    cited = re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs/guarantees.md").read_text())
    files = list((ROOT / "tests").rglob("test_*.py"))
    existing = {path.stem for path in files}
    for path in files:
        existing |= set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    missing = [name for name in cited if name not in existing]

    assert cited
    assert not missing

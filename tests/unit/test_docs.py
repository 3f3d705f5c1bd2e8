"""The documentation: what is generated is current, what is linked exists."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_the_state_diagrams_are_current():
    """docs/states.md says what the tables in the code say."""
    text = runpy.run_path(str(ROOT / "docs/states.py"))["text"]()

    assert (ROOT / "docs/states.md").read_text() == text


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

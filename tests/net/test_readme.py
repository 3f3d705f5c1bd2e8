"""The README's example runs, and is as short as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flushmesh import Mesh

README = Path(__file__).parents[2] / "README.md"


def example():
    return re.search(r"```python\n(from flushmesh.*?)```", README.read_text(), re.DOTALL).group(1)


def test_the_example_of_the_readme_runs():
    """Copied into a file and run, it loads, flushes, and ends without a word on standard error."""
    ended = subprocess.run([sys.executable, "-c", example()], capture_output=True, text=True, timeout=30, check=False)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["{'id': 42, 'name': 'Ada'}", "True"]


def test_the_ways_to_describe_a_mesh_are_true(tmp_path):
    """What the README says of meshes beyond this machine is accepted as it stands."""
    (script,) = re.findall(r"```python\n(mesh = .*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "flushmesh.toml").write_text('mesh = "shop"')
    ended = subprocess.run(
        [sys.executable, "-c", "from flushmesh import Mesh\n" + script],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_example_is_short():
    """Twelve lines, blank ones aside."""
    assert len([line for line in example().splitlines() if line.strip()]) <= 12


DOCS = Path(__file__).parents[2] / "docs"
ONE_PROGRAM = DOCS / "cache.md"


def blocks(language):
    """Return every example of the documentation in *language*, each with its page; tests/servers runs the files."""
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in sorted(DOCS.glob("*.md"))
        if page != ONE_PROGRAM
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))
        if not re.match(r"# \w+\.py\n", text)
    ]


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_roster_file_of_the_documentation_is_one(text, tmp_path):
    """Copied into a file, it is read without a complaint."""
    (tmp_path / "flushmesh.toml").write_text(text)

    assert Mesh.from_file(tmp_path / "flushmesh.toml").options.mesh == "shop"


@pytest.mark.parametrize("text", blocks("python"))
def test_every_example_of_the_documentation_runs(text):
    """Copied into a file and run with its mesh started, it ends without a word."""
    script = text + "\nwith mesh:\n    assert mesh.status().address\n"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_examples_of_the_cache_print_what_the_page_says():
    """All in one program, in order, they print what stands behind each print, and not a word on standard error."""
    program = "\n".join(re.findall(r"```python\n(.*?)```", ONE_PROGRAM.read_text(), re.DOTALL))
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", program, re.MULTILINE)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == promised
    assert len(promised) == program.count("print(")

"""The package as a whole: what it exports, what it imports, and what importing it does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flushmesh

SOURCE = Path(flushmesh.__file__).parent
ROOT = SOURCE.parent.parent

# Who may import whom.
FLOORS = {
    "protocol": set(),
    "keys": {"functions", "text"},
    "contents": {"entry", "tags"},
    "flight": {"entry", "failure", "waiter"},
    "ledger": {"contents", "entry", "flight", "tags", "versions", "write"},
    "store": {"entry", "failure", "flight", "guard", "ledger", "write"},
    "gate": {"flight", "guard", "waiter"},
    "loading": {"ahead", "entry", "failure", "flight", "gate", "store"},
    "cached": {"entry", "functions", "loading", "text"},
    "flushing": {"cached", "functions", "values"},
    "writing": {"options", "store", "write"},
    "copies": {"loading", "store"},
    "mapping": {"options", "store", "writing"},
    "cache": {"cached", "copies", "entry", "flushing", "loading", "mapping", "options", "store", "writing"},
    "options": {"protocol", "discovery"},
    "rosterfile": {"options"},
    "rosterwatch": {"rosterfile", "options"},
    "finding": {"discovery", "options", "rosterwatch"},
    "net": {"discovery", "protocol", "wire"},
    "discovery": set(),
    "wire": set(),
    "logbook": {"protocol"},
    "report": {"protocol"},
    "cacheupdates": {"cache", "protocol"},
    "receiptdesk": {"net"},
    "forking": {"net"},
    "life": {"forking", "net"},
    "mesh": {
        "cacheupdates",
        "receiptdesk",
        "hookrunner",
        "life",
        "report",
        "logbook",
        "cache",
        "options",
        "rosterfile",
        "rosterwatch",
        "finding",
        "net",
        "protocol",
    },
}
FLOORS["mesh"].add("discovery")
# What everybody may import.
LEAVES = {
    "errors",
    "keys",
    "address",
    "hooks",
    "receipt",
    "status",
    "clock",
    "duration",
    "fresh",
    "grace",
    "greenthreads",
    "unique",
    "values",
}
# What the pure rooms may take from the standard library.
PURE = {
    "__future__", "collections", "collections.abc", "dataclasses", "enum", "typing", "zlib", "itertools", "math",
    "heapq", "bisect",
}  # fmt: skip


def modules():
    return [path for path in SOURCE.rglob("*.py") if "wire" not in path.parts]


def room(path):
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path):
    """Yield the name of every module that *path* imports, also inside functions."""
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield str(statement.module)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_imports_upwards(path):
    """Every import goes to a lower floor, or stays in its room."""
    if path.name == "__init__.py" and path.parent == SOURCE:
        return
    own = room(path)
    for module in imports(path):
        if module.startswith("flushmesh."):
            target = module.split(".")[1]
            assert target == own or target in LEAVES or target in FLOORS.get(own, set()), f"{own} imports {module}"


@pytest.mark.parametrize("path", sorted((SOURCE / "protocol").glob("*.py")), ids=lambda path: path.name)
def test_the_protocol_is_pure(path):
    """No sockets, threads, clocks, randomness or logging in protocol/."""
    for module in imports(path):
        assert module in PURE or module.startswith("flushmesh.protocol"), module


def test_the_store_reads_no_clock_of_its_own():
    """Its time is handed in, so no wall clock can come into a hit."""
    assert not {"time", "datetime"} & set(imports(SOURCE / "store.py"))


def test_no_file_is_too_long_to_read():
    """A file has at most 500 lines, a function at most 60."""
    for path in modules():
        text = path.read_text()
        assert len(text.splitlines()) <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


def test_all_is_what_is_there():
    """__all__ names exactly the public names of the package."""
    public = {
        name
        for name, value in vars(flushmesh).items()
        if not name.startswith("_") and not isinstance(value, type(flushmesh))
    }

    assert set(flushmesh.__all__) == public
    assert flushmesh.__all__ == sorted(flushmesh.__all__)


def test_importing_does_nothing():
    """Importing and describing a mesh starts no thread and imports neither grpc nor zeroconf."""
    script = """
import sys, threading, flushmesh
mesh = flushmesh.Mesh("m")
@mesh.cache("c").cached(key="{x}")
def f(x): return x
assert threading.active_count() == 1, threading.enumerate()
heavy = {"grpc", "zeroconf", "google.protobuf", "asyncio.runners"} & set(sys.modules) - {"asyncio.runners"}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_the_generated_code_is_current(tmp_path):
    """`make proto` would change nothing."""
    protoc = Path(sys.executable).parent / "protoc"
    source = ROOT / "proto/flushmesh/wire/mesh.proto"
    subprocess.run(
        [protoc, "-I", ROOT / "proto", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", source],
        check=True,
        timeout=30,
    )

    for name in ("mesh_pb2.py", "mesh_pb2.pyi"):
        assert (tmp_path / "flushmesh/wire" / name).read_text() == (SOURCE / "wire" / name).read_text()

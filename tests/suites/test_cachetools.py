"""cachetools' own tests, from its source distribution, run against our mapping."""

import importlib.util
import subprocess
import sys
import tarfile
import types
import unittest
from fnmatch import fnmatchcase
from importlib import metadata

import cachetools
import pytest

from tests.suites.expected import EXPECTED
from tests.suites.face import faces

VERSION = metadata.version("cachetools")
MODULES = ["test_cache", "test_fifo", "test_lru", "test_lfu", "test_rr", "test_ttl", "test_tlru", "test_cached",
           "test_cachedmethod", "test_threading"]  # fmt: skip


@pytest.fixture(scope="module")
def tests(tmp_path_factory):
    """The folder of the tests of the installed version."""
    place = tmp_path_factory.mktemp("cachetools")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*download, "--no-binary", "cachetools", f"cachetools=={VERSION}", "--dest", place], check=True)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(place, filter="data")
    return place / f"cachetools-{VERSION}" / "tests"


def load(folder):
    """Return all test cases, with our faces wherever they name a class of cachetools."""
    package = "cachetools_tests"
    spec = importlib.util.spec_from_file_location(
        package, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[package] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ours = types.ModuleType("cachetools")
    vars(ours).update(vars(cachetools), **faces())
    sys.modules["cachetools"] = ours
    try:
        modules = [importlib.import_module(f"{package}.{name}") for name in MODULES]
    finally:
        sys.modules["cachetools"] = cachetools
    return unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromModule, modules))


def cases(suite):
    """Yield the name of each test in *suite*."""
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from cases(each)
        else:
            yield name_of(each)


def name_of(case):
    return getattr(case, "test_case", case).id().removeprefix("cachetools_tests.")


@pytest.mark.timeout(300)
def test_the_tests_of_cachetools_pass_but_for_those_that_are_listed(tests):
    """Every test of cachetools passes against our mapping, or stands in the list with its reason."""
    suite = load(tests)
    names = set(cases(suite))
    result = unittest.TestResult()
    suite.run(result)

    failed = {name_of(case): text for case, text in [*result.failures, *result.errors]}
    patterns = [pattern for listed in EXPECTED.values() for pattern in listed]
    expected = {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}
    surprises = [f"{name}\n{text}" for name, text in failed.items() if name not in expected]
    assert not surprises, "\n".join(surprises)
    assert not expected - failed.keys(), "listed, and passed"
    assert not [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in failed)]
    assert len(names) > 300

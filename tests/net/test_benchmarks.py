"""The benchmarks run, also where a rival cannot be had: it is a line in the table then."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_who_cannot_be_had_is_named_beside_those_who_can(tmp_path):
    """Without redis-py and nats-py ours is compared with the floors, and the notes say who is missing."""
    for absent in ("redis", "nats"):
        (tmp_path / f"{absent}.py").write_text("raise ImportError('not installed')\n")
    found = tmp_path / "found.json"
    command = [sys.executable, BENCHMARKS / "propagation.py", "--peers", "1", "--rounds", "2", "--at-once"]
    done = subprocess.run(
        [*command, "--json", found],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    results = json.loads(found.read_text())
    assert {each["rival"]["name"] for each in results["comparisons"] if each["ours"]["name"].endswith("idle, p50")} == {
        "bare gRPC, to 1 peer, idle, p50",
        "raw TCP, to 1 peer, idle, p50",
    }
    for absent in ("Redis pub/sub", "NATS"):
        assert f"- {absent} is not beside the others: not installed" in done.stdout

"""Whatever the interface's description allows, and much that it does not, is answered without a fault."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from serve_tools import KEY, up

pytest.importorskip("schemathesis")


def test_nothing_that_is_asked_is_a_fault_of_the_server() -> None:
    with up(models=("home=billiards-home", "compare=billiards-clip")) as served:
        address = f"http://127.0.0.1:{served.port}/openapi.json"
        command = [sys.executable, "-m", "schemathesis.cli", "run", address, "--max-examples", "10"]
        command += ["--phases", "coverage,fuzzing"]
        command += [
            "--header",
            f"Authorization: Bearer {KEY}",
            "--checks",
            "not_a_server_error",
            "--seed",
            "1",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        states = {json.loads(line)["status"] for line in served.log}
        assert 200 in states
        assert not [state for state in states if state >= 500]

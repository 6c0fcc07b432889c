"""``python -m bench.fuzz --cases 20000``: schemathesis calls every operation of the document with all its checks.

One half of the cases goes to a server with keys (as an admin, and without a key), the other half to one without keys.
The servers run in this process. Exit status 1: a check failed, or the server logged an error.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import clean_environment
from tests.support.fuzzed_app import FuzzedApp, fuzzed_app

CONFIGURATION = Path(__file__).with_name("fuzz.toml")
#: Most examples for each operation in one run.
MAX_EXAMPLES = 40
#: About the number of operations: one example each gives so many cases, to which those of the coverage phase come.
OPERATIONS = 130


def run(app: FuzzedApp, *, seed: int, max_examples: int, phases: str, paths: str = "") -> tuple[int, str]:
    """Run schemathesis once.

    Args:
        app: the server.
        seed: of its random numbers.
        max_examples: examples for each operation.
        phases: as its option.
        paths: pattern of the paths that are called; '' for all.

    Returns:
        The number of cases, and its report; the report is empty if nothing failed.
    """
    options = ["--phases", phases, "--max-examples", str(max_examples), "--seed", str(seed)]
    options += ["--continue-on-failure", "--no-shrink", "--suppress-health-check", "all", "--request-timeout", "60"]
    options += ["--include-path-regex", paths] if paths else []
    program = Path(sys.executable).with_name("st")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program, "--config-file", CONFIGURATION, "run", app.url("/openapi.json"), *options],
            check=False, capture_output=True, text=True, cwd=folder,
            env={**os.environ, "FUZZ_KEY": app.admin or "none"},
        )  # fmt: skip
    counted = re.search(r"(\d+) generated", done.stdout)
    return int(counted[1]) if counted else 0, "" if done.returncode == 0 else done.stdout + done.stderr


def fuzz(
    cases: int, *, with_keys: bool, seed: int, phases: str = "examples,coverage,fuzzing,stateful", paths: str = ""
) -> list[str]:  # fmt: skip
    """Run until so many cases have been tried; return what was found, each with its report."""
    found: list[str] = []
    tried = 0
    with fuzzed_app(with_keys=with_keys) as (app, errors):
        while tried < cases and not found:
            examples = max(1, min(MAX_EXAMPLES, (cases - tried) // OPERATIONS))
            number, report = run(app, seed=seed, max_examples=examples, phases=phases, paths=paths)
            tried, seed = tried + number, seed + 1
            new = [*([report] if report else []), *errors.take()]
            found += new
            print("\n\n".join([f"{'with' if with_keys else 'without'} keys: {tried} cases", *new]), flush=True)
            if not number:
                break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paths", default="", help="pattern of the paths to call, such as '^/v1/images'")
    arguments = parser.parse_args()
    clean_environment()
    found = [
        report
        for with_keys in (True, False)
        for report in fuzz(arguments.cases // 2, with_keys=with_keys, seed=arguments.seed, paths=arguments.paths)
    ]
    print(f"{len(found)} reports" if found else "nothing was found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The trials of object storage, one after the other, as a table: what was tried, what came of it, how long it took.

    python -m benchmarks.object_storage > docs/raw/object-storage.json

They are the tests of tests/files/test_object_storage.py (S3: moto's server behind a proxy that misbehaves) and
tests/files/test_remote.py (a web server that does). Prints one JSON object; exit status 1 if a trial fails.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from benchmarks import harness

TESTS = ("tests/files/test_object_storage.py", "tests/files/test_remote.py")


def trials(report: Path) -> list[dict[str, Any]]:
    """What a report of pytest says, a row a test."""
    rows = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        outcome = "skipped" if case.find("skipped") is not None else "held"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        row = {
            "server": "S3 (moto)" if "object_storage" in case.get("classname", "") else "HTTP or memory",
            "trial": case.get("name", "").removeprefix("test_").replace("_", " "),
            "outcome": outcome,
            "seconds": round(float(case.get("time", "0")), 2),
        }
        rows.append(row | {item.get("name", ""): item.get("value") for item in case.iter("property")})
    return rows


def main() -> int:
    """Runs the trials and prints them."""
    harness.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
        command += ["-o", "junit_family=xunit1", f"--junitxml={report}", *TESTS]
        status = subprocess.run(command, stdout=sys.stderr, cwd=harness.ROOT).returncode
        rows = trials(report)
    harness.emit({"trials": rows, "held": sum(row["outcome"] == "held" for row in rows), "tried": len(rows)})
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())

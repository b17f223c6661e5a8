"""Whether every package of the default install has a wheel on every platform: asks the registry, installs nothing.

    python -m benchmarks.wheels >docs/raw/wheels.json

For each dependency of ``pyproject.toml`` and of its extras, in the version of ``constraints.txt``, and each platform:
the file that pip would take there, or none.
"""

import json
import re
import tomllib
import urllib.request
from pathlib import Path

from benchmarks import harness

ROOT = Path(__file__).parent.parent
PLATFORMS = {
    "Linux, x86-64": r"manylinux.*x86_64",
    "Linux, ARM": r"manylinux.*aarch64",
    "Windows, x86-64": r"win_amd64",
    "Windows, ARM": r"win_arm64",
    "macOS, Apple silicon": r"macosx_\d+_\d+_(arm64|universal2)",
}
PYTHONS = ("311", "312", "313")


def wheels(name: str, version: str) -> list[str]:
    """Names of the wheels of a release."""
    url = f"https://pypi.org/simple/{name.replace('_', '-').lower()}/"
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = [each["filename"] for each in json.load(answer)["files"]]
    release = re.compile(rf"{re.sub('[-_.]+', '[-_.]', name)}-{re.escape(version)}-.*\.whl", re.IGNORECASE)
    return [file for file in files if release.fullmatch(file)]


def fitting(files: list[str], platform: str, python: str) -> str | None:
    """The wheel for a platform and a Python, or None."""
    for file in files:
        interpreter, abi, place = file.removesuffix(".whl").split("-")[-3:]
        if place != "any" and not re.search(platform, place):
            continue
        exact = f"cp{python}" in interpreter or "py3" in interpreter
        older = [int(minor) <= int(python[1:]) for minor in re.findall(r"cp3(\d+)", interpreter)]
        if exact or (abi == "abi3" and any(older)):
            return file
    return None


def main() -> None:
    harness.parser(__doc__).parse_args()
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(";")[0].strip().split("==") for line in lines if "==" in line]
    pinned = {name.lower().replace("_", "-"): version for name, version in pairs}
    extras = {extra: needed for extra, needed in told["optional-dependencies"].items() if extra != "dev"}
    found: dict[str, dict] = {}
    for group, needed in {"default": told["dependencies"], **extras}.items():
        for name in (re.split(r"[><=;\[ ]", each)[0] for each in needed):
            version = pinned[name.lower().replace("_", "-")]
            files = wheels(name, version)
            table = {
                place: {f"3.{python[1:]}": fitting(files, pattern, python) for python in PYTHONS}
                for place, pattern in PLATFORMS.items()
            }
            found[f"{group}: {name} {version}"] = table
            missing = [f"{place} {python}" for place, row in table.items() for python, file in row.items() if not file]
            where = f"missing on {', '.join(missing)}" if missing else "everywhere"
            harness.note(f"{group}: {name} {version}: {where}")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

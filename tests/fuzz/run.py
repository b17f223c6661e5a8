"""Fuzzes the readers with atheris, each for its share of the time, from the seeds in ``corpus``.

    python -m tests.fuzz.run --minutes 10 --corpus /tmp/fuzz

Exit status 1 where a reader crashed, hung for ten seconds, took 2 GiB, or raised what it should have said.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
READERS = sorted(entry.name for entry in CORPUS.iterdir())  # not from `readers`: see `child`


def child(reader: str, folder: str, seconds: int) -> None:
    """The fuzzing process of one reader."""
    import atheris

    # What is to be searched must not have been imported before this.
    with atheris.instrument_imports(include=["alexnet", "tests.fuzz", "tarfile", "zipfile", "pickletools", "PIL"]):
        from tests.fuzz import readers

    atheris.Setup(
        [sys.argv[0], folder, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=20000"],
        readers.READERS[reader],
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all readers together, two at a time")
    parser.add_argument("--corpus", type=Path, required=True, help="folder for what it finds")
    parser.add_argument("--only", nargs="*", default=READERS)
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return 0
    options.corpus.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(60 * options.minutes * 2 / len(options.only)))
    told: dict[str, dict] = {}
    waiting = list(options.only)
    while waiting:
        running = []
        for reader in waiting[:2]:
            folder = options.corpus / reader
            if not folder.exists():
                shutil.copytree(CORPUS / reader, folder)
            command = [sys.executable, "-m", "tests.fuzz.run", "--corpus", str(options.corpus)]
            log = open(options.corpus / f"{reader}.log", "w")
            running.append(
                (
                    reader,
                    log,
                    subprocess.Popen([*command, "--child", reader, str(folder), str(seconds)], stderr=log, stdout=log),
                )
            )
        for reader, log, process in running:
            status = process.wait()
            log.close()
            lines = Path(log.name).read_text(errors="replace").splitlines()
            runs = next((int(line.split()[1]) for line in reversed(lines) if line.startswith("Done ")), None)
            told[reader] = {"status": status, "runs": runs, "seconds": seconds}
            print(reader, told[reader], file=sys.stderr)
        waiting = waiting[2:]
    print(json.dumps(told, indent=1))
    return int(any(each["status"] for each in told.values()))


if __name__ == "__main__":
    sys.exit(main())

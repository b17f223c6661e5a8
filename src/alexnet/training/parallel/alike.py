"""What all ranks of a training must have alike, held against each other before the first step."""

import dataclasses
import hashlib
from importlib import metadata
from pathlib import Path

import torch

import alexnet
from alexnet.ranks import Ranks
from alexnet.training.recipe import option
from alexnet.training.setup import Setup


def code_digest() -> str:
    """The version of this package, and a digest of its files."""
    digest, root = hashlib.sha256(), Path(alexnet.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".c", ".h", ".toml"):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{metadata.version('alexnet')} ({digest.hexdigest()[:12]})"


def check_alike(ranks: Ranks, setup: Setup) -> None:
    """Raises ``UsageError`` at every rank where one of them would train something else."""
    table = hashlib.sha256(setup.net.table.text.encode()).hexdigest()[:12]
    recipe = [(field.name, getattr(setup.recipe, field.name)) for field in dataclasses.fields(setup.recipe)]
    ranks.check_same(
        [
            ("version of alexnet", code_digest(), "install the same one on every machine"),
            ("version of torch", torch.__version__, "install the same one on every machine"),
            ("dataset", setup.dataset.fingerprint[:12], "give every rank the same dataset"),
            ("net", f"{setup.net.table.name} ({table})", "give every rank the same --net"),
            *((f"recipe ({option(name)})", value, "give every rank the same options") for name, value in recipe),
            ("layout", setup.layout.words(), "give every rank the same --parallel"),
            ("kind of device", setup.device.type, "give --device"),
            ("number of threads", torch.get_num_threads(), "give --threads"),
        ]
    )

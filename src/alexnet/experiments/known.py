"""Which experiments there are: ``listing`` says so in words, ``named`` gives one."""

from collections.abc import Mapping
from typing import Any

from alexnet import files
from alexnet.errors import UsageError
from alexnet.experiments.ablations import ABLATION
from alexnet.experiments.budget import BUDGET
from alexnet.experiments.cifar import ABLATION_CIFAR, ABLATION_FAST, CIFAR, FAST, LRN
from alexnet.experiments.demo import DEMO
from alexnet.experiments.experiment import Experiment
from alexnet.experiments.fall import FALL
from alexnet.experiments.figure1 import FIGURE1
from alexnet.experiments.figure3 import FIGURE3
from alexnet.experiments.figure4 import FIGURE4
from alexnet.experiments.fine_tuning import FINE_TUNING
from alexnet.experiments.invariance import INVARIANCE
from alexnet.experiments.photos import PHOTOS_FAST
from alexnet.experiments.precision import PRECISION
from alexnet.experiments.rehearsal import REHEARSAL
from alexnet.experiments.stalling import STALLING
from alexnet.experiments.tables import TABLE_1, TABLE_2

EXPERIMENTS: Mapping[str, Experiment] = {
    "demo": DEMO,
    "figure1": FIGURE1,
    "figure3": FIGURE3,
    "figure4": FIGURE4,
    "cifar": CIFAR,
    "cifar-fast": FAST,
    "photos-fast": PHOTOS_FAST,
    "lrn": LRN,
    "ablations": ABLATION,
    "ablations-cifar": ABLATION_CIFAR,
    "ablations-cifar-fast": ABLATION_FAST,
    "budget": BUDGET,
    "stalling": STALLING,
    "fine-tuning": FINE_TUNING,
    "invariance": INVARIANCE,
    "precision": PRECISION,
    "rehearsal": REHEARSAL,
    "table1": TABLE_1,
    "table2": TABLE_2,
    "fall": FALL,
}


def listing() -> dict[str, dict[str, Any]]:
    """Every experiment by its name: ``description``, ``conditions``, ``paper`` (what it says), ``needs`` or ``takes``,
    ``scales``.

    Scales are by name, the smallest first, each in words; ``minutes`` has those that were measured. What an experiment
    does not have is left out.
    """
    return {name: _listed(experiment) for name, experiment in EXPERIMENTS.items()}


def _listed(experiment: Experiment) -> dict[str, Any]:
    scales = {name: scale.words for name, scale in experiment.scales.items()}
    minutes = {name: scale.minutes for name, scale in experiment.scales.items() if scale.minutes}
    entry = {"conditions": list(experiment.conditions), "paper": experiment.paper, "needs": experiment.needs,
             "takes": experiment.takes, "scales": scales, "minutes": minutes}  # fmt: skip
    return {"description": experiment.description, **{key: value for key, value in entry.items() if value}}


def named(name: str) -> Experiment:
    """An experiment by its name. Raises ``UsageError`` where there is none of it."""
    if name not in EXPERIMENTS:
        nearest = files.nearest(name, list(EXPERIMENTS))
        known = ", ".join(EXPERIMENTS)
        raise UsageError(f"experiment {name!r}: unknown; {nearest}give one of {known}, which `alexnet reproduce` lists")
    return EXPERIMENTS[name]

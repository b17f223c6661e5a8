"""The recipe ``fast`` against ``default``, image by image: the same photos, net and seeds."""

from alexnet.experiments.arms import Arm, by_recipe, experiment_of
from alexnet.experiments.experiment import PHOTOS, Scale

PHOTO_ARMS = {
    "default": Arm(),
    "fast": by_recipe("fast"),
    "default in ten views": Arm(of="default", views=10),
    "fast in ten views": Arm(of="fast", views=10, against="default in ten views"),
}

PHOTOS_FAST = experiment_of(
    "the recipe `fast` against `default` on photos; what else may be changed: ablations",
    "default",
    PHOTO_ARMS,
    seeds=(0, 1, 2),
    paper="nothing: the recipes are ours",
    needs=PHOTOS,
    scales={
        "minutes": Scale(0.2, (0,), None, "a fifth of the epochs over photos of 128 pixels, one seed", 4),
        "hours": Scale(1.0, (0, 1, 2), None, "all of their epochs, images of 256 pixels, three seeds"),
    },
)

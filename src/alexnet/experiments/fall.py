"""A net with a sixth convolution, pretrained on more classes, then fine-tuned on fewer with few photos (paper 6).

The paper's ``CNN*``: pretrained on ImageNet's whole Fall 2011 release, fine-tuned on ILSVRC-2012. Here the challenge
is the last half of the classes with few training images each, and the release all classes: of the challenge's it has
these same few. So what pretraining adds are images of other classes; the images that are measured, the challenge's
validation images, were trained on by no net at any time. The net without the sixth convolution is ``source``, not
``paper``, for ``conv6`` is the former and that layer: the layer and the pretraining are told apart.
"""

from collections.abc import Sequence

from alexnet.data.dataset import Dataset
from alexnet.experiments import arms
from alexnet.experiments.arms import Arm, plan_words
from alexnet.experiments.experiment import PHOTOS, Case, Experiment, Row, Scale, held_out_split
from alexnet.experiments.nets import kept_net, measured
from alexnet.experiments.pretraining import (
    check_more,
    few_of,
    part_of,
    prepared,
    prepared_pair,
    recipe_of,
    whole_source,
)

PRETRAINED = "pretrained"  # the end of a condition's name
FEW = 50  # training images of each of the challenge's classes, or a quarter of what there is
ARMS = {
    "source from scratch": Arm(says="145: 40.66 / 18.21 (6: 40.7 / 18.2)"),
    "conv6 from scratch": Arm(says="no number"),
    "conv6 pretrained": Arm(
        says="146-2012-2011: 38.99 / 16.62, -1.67 / -1.59 to 145 (6: 39.0 / 16.6); -2009: 39.10 / 16.88",
        against="conv6 from scratch",
        effect=1.7,
    ),
}


def datasets(case: Case) -> tuple[Dataset, Dataset]:
    """The release and the challenge; with few images of the latter's classes in both, other ones for each seed."""
    pair = prepared_pair(case.data)
    if pair is not None:
        return pair
    source = whole_source(case)
    if case.condition.endswith(PRETRAINED):
        check_more(case, source)
    count = len(source.listing.classes)
    classes = max(2, count // 2)
    few = max(1, min(FEW, min(source.listing.counts()["train"][-classes:]) // 4))
    beyond = few_of(source, classes, few, case.seed)
    release = prepared(case, part_of(source, 0, count, beyond), f"release-{case.seed}")
    return release, prepared(case, part_of(source, count - classes, count, beyond), f"challenge-{case.seed}")


def measure(case: Case) -> list[Row]:
    """Trains a net on the challenge, from scratch or from the release's net, and measures it on what was held out."""
    release, challenge = datasets(case)
    split = held_out_split(challenge, ("val",))
    case.announce(plan_words(challenge.splits[split], case.planned, ARMS))
    images, net = challenge.splits["train"], case.condition.split()[0]
    base, stage, seen = None, "scratch", 0
    if case.condition.endswith(PRETRAINED):
        first = recipe_of(case, net, case.seed, release.splits["train"], "release")
        base, stage = kept_net(case, "release", release, first, shared=False), "fine-tuned"
        seen = first.epochs_for(release.splits["train"])
    recipe = recipe_of(case, net, case.seed, images, stage)
    run = kept_net(case, "challenge", challenge, recipe, base, shared=False)
    row = measured(case, [run], challenge, split, 1)
    against = ARMS[case.condition].against
    more = {"train": images, "epochs": recipe.epochs_for(images), "size": challenge.size}
    more |= {"release": release.splits["train"], "release_classes": len(release.classes), "release_epochs": seen}
    return [row | more | ({"against": against} if against else {})]


def table(rows: Sequence[Row]) -> list[str]:
    """The arms' table, and what was trained on what."""
    first, seen = rows[0], max(row["release_epochs"] for row in rows)
    return [
        *arms.table(ARMS, rows),
        "",
        f"The challenge: {first['classes']:,} classes, {first['train']:,} training images, {first['epochs']:,} "
        f"epochs, measured on {first['images']:,} others that no net was trained on. "
        f"The release: {first['release_classes']:,} classes with {first['release']:,} training images, {seen:,} "
        f"epochs. Images of {first['size']} pixels.",
    ]


FALL = Experiment(
    "a sixth convolution pretrained on more classes, fine-tuned on fewer with few photos, against from scratch",
    conditions=tuple(ARMS),
    seeds=(0, 1, 2),
    measure=measure,
    figure=arms.figure,
    table=table,
    paper="pretrained on the Fall 2011 release: 39.0 / 16.6, without 40.7 / 18.2 (6; source number 146)",
    takes=PHOTOS,
    scales={
        "minutes": Scale(
            0.15, (0,), None, "half the classes with 50 photos each, 128 pixels, a seventh of the epochs", minutes=22
        ),
        "hours": Scale(0.5, (0, 1, 2), None, "the same with half the epochs, three seeds"),
        "paper": Scale(
            1.0, (0,), None, "the source's recipes; --data a folder with prepared data sets release and challenge"
        ),
    },
)

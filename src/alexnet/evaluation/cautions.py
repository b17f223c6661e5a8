"""What whoever reads an error must know of it: lines that are said before it is measured."""

from collections.abc import Sequence

from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.outputs import class_places
from alexnet.runs.checkpoint import AnyCheckpoint, parse_checkpoint


def cautions(
    runs: Sequence[Classifier],
    dataset: Dataset,
    split: str,
    *,
    views: int = 1,
    checkpoint: AnyCheckpoint = "last",
    tuned_on: str | None = None,
    probe: bool = False,
) -> list[str]:
    """Why an error is not what it is taken for, a line each, beginning with ``warning:`` or ``note:``.

    Args:
        runs: that are measured.
        dataset, split, views: on what, and how.
        checkpoint: of the runs, as for ``load``.
        tuned_on: the split that the ensemble's weights are tuned on, if they are.
        probe: whether linear classifiers are fitted, whose classes are the dataset's.

    Raises:
        UsageError: a run does not know the dataset's classes.
    """
    others = [] if probe else [run for run in runs if class_places(run, dataset) is not None]
    lines = [f"warning: {line}" for line in (prepared_otherwise(run, dataset) for run in runs) if line]
    own = [run for run in runs if run.data.get("store") == dataset.fingerprint]
    if own and split == "train" and not probe:
        names = " and ".join(run.path for run in own)
        lines.append(
            f"warning: {names}: trained on these images, so this error says nothing about new ones; give --split val"
        )
    if tuned_on == split:
        lines.append(
            f"warning: --tune-ensemble-weights {tuned_on}: tuned on the images that are measured, so this error is too "
            f"low; tune on another split"
        )
    if own and split == "val" and parse_checkpoint(checkpoint)[0] == "best":
        lines.append(
            "note: the best checkpoint was chosen by its error on these val images, so this error is a little too low"
        )
    lines += _of_views(runs, dataset, views)
    return lines + [
        f"note: {run.path} knows {len(run.classes):,} classes; measured among the {len(dataset.classes):,} of "
        f"{dataset.path} alone"
        for run in others
    ]


def _of_views(runs: Sequence[Classifier], dataset: Dataset, views: int) -> list[str]:
    """Where several views show no more than one, or are another net's."""
    lines = []
    for run in runs:
        if views > 1 and run.preprocessing.crop == dataset.size:
            all_one = "they are all the same" if views == 9 else "they are the image and its flip, five times each"
            lines.append(
                f"warning: --views {views}: {run.path} sees whole images ({dataset.size} pixels), so {all_one}"
            )
        elif views == 9 and not run.net.table.name.startswith("cifar-"):
            lines.append(
                f"note: --views 9 is how the 2012 source measures its CIFAR-10 nets, not one like {run.path}; the "
                "paper's are --views 10"
            )
    return lines


def prepared_otherwise(run: Classifier, dataset: Dataset) -> str | None:
    """How a dataset's images differ from those that a run was trained on, in a line; None if they don't."""
    if dataset.size < run.preprocessing.crop:
        return None  # refused: see ``outputs.check_size``
    trained = run.preprocessing
    differ = [
        f"{what}: {own} in training, {other} in {dataset.path}"
        for what, own, other in (("size", trained.size, dataset.size), ("resize", trained.resize, dataset.resize))
        if own != other
    ]
    if not differ:
        return None
    return (
        f"{run.path}: was trained on images prepared otherwise ({'; '.join(differ)}), so this error does not measure "
        f"the run; prepare another dataset with --size {trained.size} --resize {trained.resize}"
    )

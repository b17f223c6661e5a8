"""Where a training's figures go besides its journal: TensorBoard, Weights & Biases, MLflow; each an extra.

A logger takes a step's figures by names such as ``train/loss``. One that fails, whatever the reason, is left out from
then on: it never ends a training.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from alexnet import files
from alexnet.errors import UsageError
from alexnet.runs.run import read_description


class Logger(Protocol):
    """What is told of a training's figures."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes figures of a step, by names such as ``train/loss``."""
        ...

    def flush(self) -> None:
        """Hands on what was taken."""
        ...

    def close(self) -> None:
        """Ends."""
        ...


class TensorBoard:
    """Writes to ``RUN/tensorboard``; what was written after the step that is resumed from is superseded."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        self._board.flush()

    def close(self) -> None:
        self._board.close()


class WeightsAndBiases:
    """One run of Weights & Biases per run here, resumed with it. Its own variables hold: WANDB_PROJECT, WANDB_MODE."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], step: int):
        wandb: Any = importlib.import_module("wandb")

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "alexnet"),
            name=folder.resolve().name,
            id=identity(folder),
            resume="allow",
            dir=str(folder),
            config=dict(recipe),
            settings=wandb.Settings(console="off"),
        )
        self._run.define_metric("*", step_metric="step")  # steps that are trained again are taken again

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "step": step})

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """One run of MLflow per run here, found again by a tag. MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME hold."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], step: int):
        mlflow: Any = importlib.import_module("mlflow")

        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "alexnet")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        tag = identity(folder)
        earlier = self._client.search_runs([experiment], f"tags.`alexnet.run` = '{tag}'", max_results=1)
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
        else:
            tags = {"alexnet.run": tag, "mlflow.runName": folder.resolve().name}
            self._run = self._client.create_run(experiment, tags=tags).info.run_id
            for key, value in recipe.items():
                self._client.log_param(self._run, key, value)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._run, name, value, step=step)

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        self._client.set_terminated(self._run)


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any], int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Guarded:
    """A logger that may fail: then it is left out, and that is said, once."""

    def __init__(self, name: str, logger: Logger, say: Callable[[str], None]):
        self._name, self._say = name, say
        self._logger: Logger | None = logger

    @contextlib.contextmanager
    def _guard(self):
        try:
            yield
        except Exception as error:
            self._logger = None
            self._say(_left_out(self._name, error))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """As ``Logger``'s."""
        if self._logger:
            with self._guard():
                self._logger.write(step, figures)

    def flush(self) -> None:
        """As ``Logger``'s."""
        if self._logger:
            with self._guard():
                self._logger.flush()

    def close(self) -> None:
        """As ``Logger``'s."""
        if self._logger:
            with self._guard():
                self._logger.close()


def _left_out(name: str, error: Exception) -> str:
    """What is said of a logger that failed."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"note: --log {name}: {reason[:200]}; the training goes on without it"


def check_loggers(names: Sequence[str]) -> None:
    """Raises ``UsageError`` for a name that is none."""
    for name in names:
        if name not in LOGGERS:
            near = files.nearest(name, LOGGERS)
            raise UsageError(f"--log {name}: unknown; {near}give one of {', '.join(LOGGERS)}, several with commas")


def open_loggers(
    names: Sequence[str], folder: Path, recipe: Mapping[str, Any], step: int, say: Callable[[str], None]
) -> list[Guarded]:
    """The loggers of a run.

    Args:
        names: of ``LOGGERS``.
        folder: the run's, in which there is ``run.json`` already.
        recipe: settled, as plain values.
        step: that the training starts from.
        say: is told where one fails.

    Raises:
        UsageError: one that is not installed.
    """
    check_loggers(names)
    opened = []
    for name in dict.fromkeys(names):
        try:
            opened.append(Guarded(name, LOGGERS[name](folder, recipe, step), say))
        except ImportError as error:
            raise UsageError(f"--log {name}: is not installed; pip install 'alexnet[{name}]'") from error
        except Exception as error:
            say(_left_out(name, error))
    return opened


def identity(folder: Path) -> str:
    """What a run is called elsewhere, for good: of 16 letters, by its place and when it was made."""
    created = str(read_description(folder).get("created", ""))
    return files.sha256_text(str(folder.resolve()), created)[:16]

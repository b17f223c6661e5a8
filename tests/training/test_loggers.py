"""What a training logs elsewhere are the journal's figures; a logger that fails ends nothing."""

import json
import sys
import types

import pytest

from alexnet import Recipe, UsageError, train


class Wandb(types.ModuleType):
    """Stands for the package: keeps what it is told."""

    Settings = dict

    def __init__(self, fails_at: int | None = None):
        super().__init__("wandb")
        self.inits, self.lines, self.finished, self.fails_at = [], [], 0, fails_at

    def init(self, **options):
        self.inits.append(options)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, figures):
        if self.fails_at is not None and figures["step"] >= self.fails_at:
            raise ConnectionError("no\nroute")
        self.lines.append(figures)

    def finish(self):
        self.finished += 1


class MLflow(types.ModuleType):
    """Stands for the package and its client."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.metrics, self.ended = {}, [], []

    def MlflowClient(self):
        return self

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id="7")

    def search_runs(self, experiments, query, max_results):
        assert experiments == ["7"]
        return [
            types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))
            for run, tag in self.runs.items()
            if query == f"tags.`alexnet.run` = '{tag}'"
        ]

    def create_run(self, experiment, tags):
        run = f"run-{len(self.runs)}"
        self.runs[run] = tags["alexnet.run"]
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))

    def update_run(self, run, status):
        assert (run, status) == ("run-0", "RUNNING")

    def log_param(self, run, key, value):
        assert value is not Ellipsis

    def log_metric(self, run, name, value, step):
        self.metrics.append((run, step, name, value))

    def set_terminated(self, run):
        self.ended.append(run)


@pytest.fixture
def recipe(net_file) -> Recipe:
    return Recipe(net=net_file, crop_size=48, batch_size=16, epochs=2)


def journal(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def interrupted(dataset, run, recipe, logger: str) -> None:
    """A training that ends in its fourth step."""

    def stop(report):
        if report.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, run, recipe, log=[logger], on_step=stop, show=False)


def test_wandb_has_the_journals_figures_and_is_resumed(dataset, recipe, tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    interrupted(dataset, tmp_path / "run", recipe, "wandb")
    train(dataset, tmp_path / "run", recipe, log=["wandb"], show=False)
    lines = {
        (line["step"], split): line for line in wandb.lines for split in {key.split("/")[0] for key in line} - {"step"}
    }
    for line in journal(tmp_path / "run"):
        logged = lines[line["step"], line["split"]]
        assert logged[f"{line['split']}/loss"] == line["loss"]
        assert logged[f"{line['split']}/top1_error"] == line["top1_error"]
    first, second = wandb.inits
    assert first["id"] == second["id"] and first["resume"] == "allow" and first["config"]["epochs"] == 2
    assert wandb.finished == 2
    train(dataset, tmp_path / "other", recipe, log=["wandb"], show=False)
    assert wandb.inits[2]["id"] != first["id"]


def test_mlflow_finds_its_run_again(dataset, recipe, tmp_path, monkeypatch):
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    interrupted(dataset, tmp_path / "run", recipe, "mlflow")
    train(dataset, tmp_path / "run", recipe, log=("mlflow", "mlflow"), show=False)
    assert list(mlflow.runs) == ["run-0"] and mlflow.ended == ["run-0"] * 2
    told = {(step, name): value for _, step, name, value in mlflow.metrics}
    for line in journal(tmp_path / "run"):
        assert told[line["step"], f"{line['split']}/loss"] == line["loss"]


def test_a_logger_that_fails_ends_nothing(dataset, recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", Wandb(fails_at=3))
    train(dataset, tmp_path / "run", recipe, log=["wandb"])
    err = capsys.readouterr().err
    assert err.count("note: --log wandb: no route; the training goes on without it") == 1
    train(dataset, tmp_path / "plain", recipe, show=False)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "plain/metrics.jsonl").read_bytes()
    broken = types.ModuleType("wandb")
    monkeypatch.setitem(sys.modules, "wandb", broken)  # it cannot even begin
    train(dataset, tmp_path / "begins", recipe, log=["wandb"])
    assert "note: --log wandb: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_or_unknown_is_said_before_the_first_step(
    alexnet, dataset, small, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, name, None)
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", *small, "--log", name)
    assert status == 2 and f"pip install 'alexnet[{name}]'" in err and not (tmp_path / "run/metrics.jsonl").exists()
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", *small, "--log", f"{name}s")
    assert status == 2 and f"Perhaps you meant {name}" in err.replace("perhaps", "Perhaps")
    status, _, err = alexnet("train", dataset.path, tmp_path / "run", *small, "--tensorboard")
    assert status == 2 and "is now --log" in err
    with pytest.raises(UsageError, match="--log board: unknown"):
        train(dataset, tmp_path / "run", Recipe(), log=["board"])

"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012): from image archives to a trained, measured network.

    net = alexnet.Net("paper", classes=10)          an nn.Module, initialized, for your own loop; net.conv1
    clf = alexnet.load("run")                       a Classifier: clf("photo.jpg"), clf.evaluate("dataset", views=10),
                                                    clf.predict("folder"), clf.features("folder", ["conv5", "fc7"])
    data = alexnet.Dataset("dataset", "train", transform=clf.preprocessing)      for anybody's DataLoader
    alexnet.prepare("photos", "dataset")            images in, dataset out
    alexnet.train("dataset", "run", alexnet.recipes.default(learning_rate=0.02, seed=7), on_step=print)
    optimizer = alexnet.Momentum(net.named_parameters(), lr=0.01, weight_decay=5e-4)

``evaluate``, ``predict``, ``features``, ``import_weights`` and ``export`` take paths or opened things; ``compare``
takes paths of runs. What goes wrong is an ``AlexNetError``; wrong use is a ``UsageError``, also a ``ValueError``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alexnet.data.dataset import Dataset as Dataset
    from alexnet.data.prepare import prepare as prepare
    from alexnet.errors import AlexNetError as AlexNetError
    from alexnet.errors import Interrupted as Interrupted
    from alexnet.errors import UsageError as UsageError
    from alexnet.evaluation.classifier import Classifier as Classifier
    from alexnet.evaluation.classifier import load as load
    from alexnet.evaluation.compare import compare as compare
    from alexnet.evaluation.evaluate import evaluate as evaluate
    from alexnet.evaluation.features import features as features
    from alexnet.evaluation.predict import predict as predict
    from alexnet.interchange.exporting import export as export
    from alexnet.interchange.importing import import_weights as import_weights
    from alexnet.nets.network import Network as Net  # noqa: F401
    from alexnet.training import recipes as recipes
    from alexnet.training.muon import Muon as Muon
    from alexnet.training.optimizer import Momentum as Momentum
    from alexnet.training.recipe import Recipe as Recipe
    from alexnet.training.train import train as train

_PLACES = {
    "prepare": ("alexnet.data.prepare", "prepare"),
    "Dataset": ("alexnet.data.dataset", "Dataset"),
    "Net": ("alexnet.nets.network", "Network"),
    "Recipe": ("alexnet.training.recipe", "Recipe"),
    "recipes": ("alexnet.training.recipes", None),
    "Momentum": ("alexnet.training.optimizer", "Momentum"),
    "Muon": ("alexnet.training.muon", "Muon"),
    "train": ("alexnet.training.train", "train"),
    "load": ("alexnet.evaluation.classifier", "load"),
    "Classifier": ("alexnet.evaluation.classifier", "Classifier"),
    "evaluate": ("alexnet.evaluation.evaluate", "evaluate"),
    "compare": ("alexnet.evaluation.compare", "compare"),
    "predict": ("alexnet.evaluation.predict", "predict"),
    "features": ("alexnet.evaluation.features", "features"),
    "import_weights": ("alexnet.interchange.importing", "import_weights"),
    "export": ("alexnet.interchange.exporting", "export"),
    "AlexNetError": ("alexnet.errors", "AlexNetError"),
    "UsageError": ("alexnet.errors", "UsageError"),
    "Interrupted": ("alexnet.errors", "Interrupted"),
}

__all__ = list(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("alexnet")
    if name not in _PLACES:
        raise AttributeError(f"module 'alexnet' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    owner = import_module(module)
    value = owner if attribute is None else getattr(owner, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

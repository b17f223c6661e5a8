"""CIFAR-10 by the source's nets and recipes: the four nets against each other; response norms and none; what else."""

from alexnet.experiments.arms import Arm, by_recipe, experiment_of
from alexnet.experiments.experiment import CIFAR_10, Scale

SOURCES = {
    "cifar-quick": "26% in 80 s",
    "cifar-18": "18% in 20 min",
    "cifar-13": "13% in 25 min",
    "cifar-11": "11% in 75 min",
}
VIEWS = {"cifar-quick": 1, "cifar-18": 1, "cifar-13": 9, "cifar-11": 9}
CIFAR_ARMS = {name: by_recipe(name, views=VIEWS[name], says=says) for name, says in SOURCES.items()}
FAST_ARMS = {
    f"{name} fast": by_recipe(f"{name}-fast", views=VIEWS[name], says=f"the source's own recipe: {says}")
    for name, says in SOURCES.items()
} | {
    "cifar-18 fast and flips": Arm(of="cifar-18 fast", views=10, says="measured in one view"),
    **{
        f"{name} fast in ten views": Arm(
            of=f"{name} fast", views=10, against=f"{name} fast", says="the source's test: nine views"
        )
        for name in ("cifar-13", "cifar-11")
    },
}


def changed(line: str, *layers: str) -> str:
    """TOML in which each of some layers has a line."""
    return "".join(f"[layers.{layer}]\n{line}\n" for layer in layers)


NO_NORMS = 'remove = ["rnorm1", "rnorm2"]\n'
LRN_ARMS = {
    "with norms": Arm(views=9, says="11% (3.3, footnote)"),
    "without norms": Arm(net=NO_NORMS, views=9, says="13% (3.3, footnote)", effect=2.0),
}
ABLATIONS_CIFAR = {
    "whole": Arm(says="`cifar-11`: 11% in nine views"),
    "without norms": Arm(net=NO_NORMS, says="13% against 11% (3.3, footnote); 148 on ImageNet: +1.37", effect=1.4),
    "pooling without overlap": Arm(
        net=changed("size = 2", "pool1", "pool2"), says="147 on ImageNet: +0.40 (3.4)", effect=0.4
    ),
    "with color noise": Arm({"color_noise": 0.1}, says="no number; over 1 point better on ImageNet (4.1)", effect=1.0),
    "no crops and flips": Arm(
        {"crop_position": "center", "flip": False}, says="no number; substantial overfitting on ImageNet (4.1)"
    ),
    "tanh": Arm(
        net=changed('activation = "tanh"', "conv1", "conv2", "local3", "local4"),
        says="no number; six times as many epochs (3.1, Figure 1)",
    ),
    "nine views": Arm(
        of="whole", views=9, says="the source's 11% is of these; ten on ImageNet, 145-2010: -1.55 / -1.30"
    ),
    "three nets": Arm(of="whole", nets=3, says="no number of three; five on ImageNet: 38.1 / 16.4, -2.6 / -1.8 (6)"),
}
ABLATIONS_FAST = {
    "whole": Arm(says="`cifar-18`: 18% by the source's own recipe"),
    "without norms": Arm(net=NO_NORMS, says="148 on ImageNet: +1.37; 13% against 11% (3.3, footnote)", effect=1.4),
    "pooling without overlap": Arm(
        net=changed("size = 2", "pool1", "pool2", "pool3"), says="147 on ImageNet: +0.40 (3.4)", effect=0.4
    ),
    "with dropout": Arm(
        net=changed('dropout = 0.5\ndropout_of = "inputs"', "fc10"),
        says="no number; the paper's net overfits without dropout (4.2)",
    ),
    "no crops": Arm({"crop_margin": 0}, says="no number; with flips, substantial overfitting on ImageNet (4.1)"),
    "no flips": Arm({"flip": False}, says="no number; with crops, substantial overfitting on ImageNet (4.1)"),
    "tanh": Arm(
        net=changed('activation = "tanh"', "pool1", "conv2", "conv3"),
        says="no number; six times as many epochs (3.1, Figure 1)",
    ),
}

CIFAR = experiment_of(
    "the source's four CIFAR-10 nets by its own recipes",
    "cifar-quick",
    CIFAR_ARMS,
    seeds=(0, 1, 2),
    paper="; ".join(f"{name}: {says}" for name, says in SOURCES.items()),
    needs=CIFAR_10,
    scales={
        "minutes": Scale(
            0.1, (0,), ("cifar-quick", "cifar-18"), "two nets, a tenth of their epochs, one seed", minutes=25
        ),
        "hours": Scale(1.0, (0,), None, "four nets, all of their epochs, one seed: seven hours by the epochs measured"),
        "paper": Scale(1.0, (0, 1, 2), None, "four nets, all of their epochs, three seeds: a day on two cores"),
    },
)
FAST = experiment_of(
    "the source's four CIFAR-10 nets by recipes of ours, in minutes; by the source's recipes: cifar",
    "cifar-quick",
    FAST_ARMS,
    seeds=tuple(range(5)),
    paper="; ".join(f"{name}: {says}" for name, says in SOURCES.items()),
    needs=CIFAR_10,
    scales={
        "minutes": Scale(
            1.0,
            (0,),
            ("cifar-quick fast", "cifar-18 fast", "cifar-18 fast and flips"),
            "two nets, all of their epochs, one seed",
            minutes=6,
        ),
        "hours": Scale(1.0, tuple(range(5)), None, "four nets and more views, all of their epochs, five seeds"),
    },
)
LRN = experiment_of(
    "CIFAR-10 with and without response norms",
    "cifar-11",
    LRN_ARMS,
    seeds=(0, 1, 2),
    paper="13% without, 11% with (3.3)",
    needs=CIFAR_10,
    scales={
        "minutes": Scale(0.006, (0,), None, "three epochs, one seed", 8),
        "hours": Scale(0.05, (0, 1, 2), None, "a twentieth of the epochs, three seeds"),
        "paper": Scale(1.0, (0, 1, 2), None, "520 epochs, three seeds"),
    },
)
ABLATION_FAST = experiment_of(
    "CIFAR-10's 18% net, trained nearly to its end, with one thing changed at a time",
    "cifar-18-fast",
    ABLATIONS_FAST,
    seeds=tuple(range(12)),
    paper="norms 1.4 to 2, overlap 0.4 points (3.3, 3.4)",
    needs=CIFAR_10,
    scales={
        "minutes": Scale(0.25, (0,), None, "every arm, four epochs, one seed", minutes=16),
        "hours": Scale(1.0, None, None, "every arm, 16 epochs, twelve seeds: six hours"),
    },
)
ABLATION_CIFAR = experiment_of(
    "CIFAR-10's 11% net with one thing changed at a time; in less time: ablations-cifar-fast; photos: ablations",
    "cifar-11",
    ABLATIONS_CIFAR,
    seeds=(0, 1, 2),
    paper="norms 2 points (3.3, footnote)",
    needs=CIFAR_10,
    scales={
        "minutes": Scale(
            0.004,
            (0,),
            ("whole", "without norms", "no crops and flips", "tanh", "nine views"),
            "five arms, two epochs, one seed",
            minutes=4,
        ),
        "hours": Scale(0.025, (0, 1, 2), None, "every arm, a fortieth of the epochs, three seeds"),
        "paper": Scale(1.0, tuple(range(12)), None, "every arm, 520 epochs, twelve seeds"),
    },
)

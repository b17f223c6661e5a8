"""What each part of the paper's net and training is worth on photos: one thing is left out or changed at a time.

Each arm names the source's experiment that it mirrors (``layer-params-N.cfg``), with its top-1 and top-5 errors of ten
views, as far as there is one; else the paper's section. The source's nets are number 145 with one change; ours are the
recipe ``default`` with one change, whose net is ``paper``.
"""

from alexnet.experiments.arms import SIDE_OF_POOL5, Arm, experiment_of
from alexnet.experiments.experiment import PHOTOS, Scale

# size 2, stride 2; rounded up as everywhere, maps are 28, 14 and 7 wide in place of 27, 13 and 6
PLAIN_POOL = "".join(f"[layers.{name}]\nsize = 2\n" for name in ("pool1", "pool2", "pool5"))
NO_DROPOUT = "[layers.fc6]\ndropout = 0.0\n[layers.fc7]\ndropout = 0.0\n"
ACTIVE = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
TANH = "".join(f'[layers.{name}]\nactivation = "tanh"\n' for name in ACTIVE)
# as the net `one-gpu`: half the kernels of conv1 to conv4, the rest whole
ONE_GPU = "towers = 1\n" + "".join(
    f"[layers.{name}]\nfilters = {filters}\n"
    for name, filters in (("conv1", 48), ("conv2", 128), ("conv3", 192), ("conv4", 192))
)
# conv3, fc6 and fc7 see their own tower alone; the towers meet in fc8. A fully connected layer of each tower is a
# convolution with as large windows as its maps are.
FULL = 'kind = "convolution"\nfilters = 4096\nsees = "own tower"\nactivation = "relu"\nbias = 1.0\ndropout = 0.5\n'
SEPARATE = (
    f'[layers.conv3]\nsees = "own tower"\n[layers.fc6]\nsize = {SIDE_OF_POOL5}\n{FULL}[layers.fc7]\nsize = 1\n{FULL}'
)
# conv2, norm2, pool2, ReLU; the maximum of a window and ReLU give the same in either order
NORM_BELOW = (
    '[layers.conv2]\nkind = "convolution"\nfilters = 256\nsize = 5\npadding = 2\nsees = "own tower"\nbias = 1.0\n'
    '[layers.pool2]\nactivation = "relu"\n'
)
STAGES = {"schedule": "staircase", "stages": 4, "learning_rate": 0.01, "final_lr": 1e-5}
EXPONENTIAL = {"schedule": "exponential", "learning_rate": 0.02, "final_lr": 1e-5}
ABLATIONS = {
    "whole": Arm(says="145: 40.66 / 18.21"),
    "without norms": Arm(
        net='remove = ["norm1", "norm2"]\n', says="148: 42.03 / 19.36, +1.37 / +1.15 (3.3: 1.4 / 1.2)", effect=1.4
    ),
    "pooling without overlap": Arm(
        net=PLAIN_POOL, says="147: 41.06 / 18.51, +0.40 / +0.30 (3.4: 0.4 / 0.3)", effect=0.4
    ),
    "without color noise": Arm({"color_noise": 0.0}, says="no number; over 1 point top-1 (4.1)", effect=1.0),
    "no crops and flips": Arm(
        {"crop_position": "center", "flip": False}, says="no number; substantial overfitting (4.1)"
    ),
    "without dropout": Arm(net=NO_DROPOUT, says="no number; substantial overfitting, half the iterations (4.2)"),
    "one GPU's net": Arm(
        net=ONE_GPU, says="145-half: 39.17 / 18.23 to 145-2010's 37.47 / 17.00, +1.70 / +1.23 (3.2)", effect=1.7
    ),
    "towers that never talk": Arm(
        net=SEPARATE, says="150: 41.83 / 19.33, +1.17 / +1.12; here conv3, fc6 and fc7 are cut, fc8 is not", effect=1.2
    ),
    "second norm below the ReLU": Arm(
        net=NORM_BELOW, says="166: 41.10 / 18.67, +0.44 / +0.46, by another schedule of the rate", effect=0.4
    ),
    "stepped rate": Arm(STAGES, says="145: 40.66 / 18.21; equal stages, 169: 40.60 / 18.11"),
    "exponential rate": Arm(
        EXPONENTIAL, says="156: 40.76 / 18.35, +0.10 / +0.14; 155: 40.74 / 18.52", effect=0.1, against="stepped rate"
    ),
    "tanh": Arm(net=TANH, says="no number; six times as many epochs on CIFAR-10 (3.1)"),
    "ten views": Arm(
        of="whole", views=10, says="145-2010: 37.47 / 17.00 to one view's 39.02 / 18.30, -1.55 / -1.30 (4.1)"
    ),
    "three nets": Arm(of="whole", nets=3, says="no number of three; five: 38.1 / 16.4, -2.6 / -1.8 (6)"),
}

ABLATION = experiment_of(
    "photos with one thing of the paper left out or changed at a time; for CIFAR-10: ablations-cifar",
    "default",
    ABLATIONS,
    seeds=(0, 1, 2),
    paper="norms 1.4, overlap 0.4, color over 1, two GPUs 1.7 points",
    needs=PHOTOS,
    scales={
        "minutes": Scale(
            0.19,
            (0,),
            ("whole", "without norms", "no crops and flips", "without dropout", "ten views"),
            "five arms over photos of 128 pixels, a fifth of the epochs, one seed",
            minutes=10,
        ),
        "hours": Scale(0.5, (0, 1, 2), None, "every arm over photos of 128 pixels, half the epochs, three seeds"),
        "paper": Scale(1.0, (0, 1, 2), None, "every arm, three seeds, 24 epochs of ImageNet as --data, on GPUs"),
    },
)

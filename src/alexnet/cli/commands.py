"""The commands: where each is, and what it does in a line. None is imported before it is given."""

import importlib

COMMANDS = {  # a command's module and class, and the first line of that class's docstring
    "prepare": ("data.Prepare", "Make a dataset of 256x256 images from a folder, archive or table of images."),
    "download": ("data.Download", "Download a public data set or published weights by name, and verify the checksum."),
    "verify": ("data.Verify", "Check every hash of a dataset, a run or an index, and decode every image of a dataset."),
    "info": ("info.Info", "Show information about a dataset, a run or an index."),
    "summary": (
        "nets.Summary",
        "Print the layer table of a net: kernels, shapes, receptive fields, parameters, multiply-adds, memory.",
    ),
    "train": ("train.Train", "Train a net on a dataset. If interrupted, run the same command to resume exactly."),
    "evaluate": (
        "evaluate.Evaluate",
        "Measure top-1 and top-5 error of a run, or of an ensemble of runs whose outputs are averaged.",
    ),
    "compare": (
        "compare.Compare",
        "Compare runs: what their recipes differ in, errors, time, the spread over seeds.",
    ),
    "predict": ("use.Predict", "Predict the most probable classes of images."),
    "show": (
        "show.Show",
        "Draw a run: error curve, filters (Figure 3), predictions (Figure 4); or one image on its way through the net.",
    ),
    "features": (
        "features.Features",
        "Write the activations of layers for a set of images to a file, in the format of your tools.",
    ),
    "index": (
        "search.Index",
        "Make an index of images to search by picture. Given again, it computes only what is new.",
    ),
    "search": ("search.Search", "Find the images of an index that are most similar to a picture (paper 6.1)."),
    "serve": ("serve.Serve", "Serve a run as a page in the browser, with an API for programs."),
    "import": (
        "interchange.Import",
        "Import pretrained weights (torchvision, Caffe, ONNX) as a run. Nothing in the file is executed.",
    ),
    "export": (
        "interchange.Export",
        "Export a run's net for other programs: ONNX, a folder for the Hugging Face hub, torchvision's state dict.",
    ),
    "reproduce": (
        "experiments.Reproduce",
        "Run an experiment of the docs, and write its raw figures, table and figure. Without a name, list them.",
    ),
    "nets": ("nets.Nets", "List the nets that are included."),
    "recipes": ("nets.Recipes", "List the recipes that are included."),
    "bench": (
        "diagnostics.Bench",
        "Measure the speed of this machine, beside a plain port and the roofline, in about two minutes.",
    ),
    "doctor": ("diagnostics.Doctor", "Show what is installed, which code paths run, and what would make them faster."),
    "demo": (
        "experiments.Demo",
        "Make a synthetic data set, train on it, evaluate and show the result. Works offline, in minutes.",
    ),
    "completion": (
        "completion.Completion",
        'Print what completes commands and options in a shell: eval "$(alexnet completion bash)".',
    ),
}


def command_class(name: str) -> type:
    """The dataclass whose fields are a command's options; imports its module."""
    module, kind = COMMANDS[name][0].split(".")
    return getattr(importlib.import_module(f"alexnet.cli.{module}"), kind)


def overview() -> str:
    """What ``alexnet --help`` prints."""
    lines = ["usage: alexnet COMMAND ...", "", "Train, evaluate and use AlexNet (Krizhevsky et al., 2012).", ""]
    lines += [f"  {name:<10} {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join([*lines, "", "alexnet help COMMAND shows its options; alexnet --version prints the version."])

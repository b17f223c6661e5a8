"""The other side of ``exchange.py``, each in an environment of its own.

    python exchange_worker.py torchvision-make FOLDER          random weights in its files, and its answers
    python exchange_worker.py torchvision-load FOLDER STATE    its answers with a state dict of ours
    python exchange_worker.py onnxruntime|openvino FOLDER MODEL.onnx BATCH THREADS

Pixels are in FOLDER/pixels.npy, (n, 256, 256, 3) uint8, and answers go to FOLDER/NAME.npy. The engines then read ``go``
on standard input and answer with seconds a batch.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from worker import engine


def torchvision_answers(net, folder, name):
    """Probabilities of the pixels, and of the photos as files, with torchvision's own transforms."""
    import torch
    from PIL import Image
    from torchvision.transforms import functional
    from torchvision.transforms._presets import ImageClassification

    prepare = ImageClassification(crop_size=224)
    photos = json.loads((folder / "photos.json").read_text())
    pixels = np.load(folder / "pixels.npy")
    with torch.inference_mode():
        squares = torch.stack([prepare(functional.to_pil_image(image)) for image in pixels])
        files = torch.stack([prepare(Image.open(path).convert("RGB")) for path in photos])
        np.save(folder / f"{name}-pixels.npy", net(squares).softmax(1).numpy())
        np.save(folder / f"{name}-photos.npy", net(files).softmax(1).numpy())


def torchvision(kind, folder, state=None):
    import torch
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.alexnet().eval()
    if kind == "torchvision-load":
        net.load_state_dict(torch.load(state, weights_only=True), strict=True)
    else:
        with torch.no_grad():
            for value in net.parameters():  # torch's own start hardly tells one image from another
                value.mul_(3.0)
        torch.save(net.state_dict(), folder / "zip.pth")
        torch.save(net.state_dict(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torchvision_answers(net, folder, kind)
    print(json.dumps({"torch": torch.__version__, "torchvision": torchvision.__version__}), flush=True)


def main():
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind.startswith("torchvision"):
        torchvision(kind, folder, *sys.argv[3:])
        return
    run = engine(kind, sys.argv[3], int(sys.argv[5]))
    pixels = np.load(folder / "pixels.npy")
    batch = pixels[: int(sys.argv[4])]
    np.save(
        folder / f"{kind}-{Path(sys.argv[3]).stem}.npy",
        np.concatenate([run(each) for each in np.array_split(pixels, 4)]),
    )
    print("{}", flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        run(batch)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()

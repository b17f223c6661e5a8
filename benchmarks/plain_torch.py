"""The peer: a plain torch AlexNet with SGD, as public ports have it, for so many minutes on a dataset's images.

float32, NCHW, ``nn.LocalResponseNorm``, torch's own initialization, ``torch.optim.SGD``, ``DataLoader``; the
net of the paper with its two towers as grouped convolutions (``alexnet.diagnostics.plain_port``). It shares no other
code with ``alexnet`` but the reading of stored images. Prints a JSON line an epoch.

    python -m benchmarks.plain_torch DATASET --minutes 26 >docs/raw/peer.jsonl
"""

import json
import time

import numpy as np
import torch
from torch import nn
from torch.utils import data as torch_data
from torch.utils.data import DataLoader

from alexnet import Dataset
from alexnet.diagnostics.plain_port import plain_port
from benchmarks import harness


class Images(torch_data.Dataset):
    """A split's images: random (or central) 227 crops and mirrors, divided by the usual ImageNet deviations."""

    MEAN = np.float32([0.485, 0.456, 0.406])
    DEVIATION = np.float32([0.229, 0.224, 0.225])

    def __init__(self, dataset: Dataset, split: str):
        self.dataset, self.rows, self.training = dataset, dataset.rows(split), split == "train"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = int(self.rows[index])
        top, left = torch.randint(0, 30, (2,)).tolist() if self.training else (14, 14)
        crop = self.dataset.image(row)[top : top + 227, left : left + 227]
        if self.training and torch.rand(()) < 0.5:
            crop = crop[:, ::-1]
        pixels = (crop.astype(np.float32) / 255 - self.MEAN) / self.DEVIATION
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), int(self.dataset.labels[row])


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("store")
    parser.add_argument("--minutes", type=float, required=True, help="of training; validation is not counted")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    dataset = Dataset(options.dataset)
    model = plain_port(len(dataset.classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(
        Images(dataset, "train"), options.batch_size, shuffle=True, num_workers=1, persistent_workers=True
    )
    testing = DataLoader(Images(dataset, "val"), options.batch_size)
    trained, images, epoch = 0.0, 0, 0
    while trained < 60 * options.minutes:
        model.train()
        losses = []
        started = time.monotonic()
        for pixels, labels in loader:
            loss = nn.functional.cross_entropy(model(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            images += len(labels)
            if trained + time.monotonic() - started > 60 * options.minutes:
                break
        trained += time.monotonic() - started
        epoch += 1
        model.eval()
        with torch.inference_mode():
            wrong = sum(int((model(pixels).argmax(1) != labels).sum()) for pixels, labels in testing)
        error = wrong / len(testing.dataset)  # pyright: ignore[reportArgumentType]
        print(
            json.dumps(
                {
                    "epoch": epoch,
                    "minutes": trained / 60,
                    "images": images,
                    "images_per_second": images / trained,
                    "loss": float(np.mean(losses)),
                    "top1_error": error,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()

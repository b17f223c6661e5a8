"""One loader in an environment of its own: reads ``go`` on standard input, answers with images a second of one pass.

python loaders_worker.py torchvision|"torchvision, its own transform"|webdataset|datasets ROOM
"""

import glob
import sys
import time

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

BATCH = 128
SAME = v2.Compose([v2.PILToTensor(), v2.RandomCrop(224), v2.RandomHorizontalFlip()])


def loader(name, room):
    if name.startswith("torchvision"):
        own = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        found = datasets.ImageFolder(f"{room}/folder", own if "own" in name else SAME)
        return DataLoader(found, BATCH, shuffle=True)
    if name == "webdataset":
        import webdataset

        found = webdataset.WebDataset(f"{room}/images.tar", shardshuffle=False).shuffle(1000).decode("pil")
        return DataLoader(found.to_tuple("jpg", "cls").map_tuple(SAME, int), BATCH)
    import datasets as hub

    folders = sorted(glob.glob(f"{room}/folder/*"))
    files = [(path, label) for label, folder in enumerate(folders) for path in sorted(glob.glob(f"{folder}/*"))]
    made = hub.Dataset.from_dict({"image": [path for path, _ in files], "label": [label for _, label in files]})
    made = made.cast_column("image", hub.Image())
    made = made.map(lambda row: row, features=hub.Features({"image": hub.Image(), "label": hub.Value("int64")}))
    made.set_transform(lambda rows: {"image": [SAME(i) for i in rows["image"]], "label": rows["label"]})
    return DataLoader(made, BATCH, shuffle=True)


def main():
    torch.set_num_threads(1)
    found = loader(sys.argv[1], sys.argv[2])
    print("{}", flush=True)
    for _ in sys.stdin:
        begun, images = time.perf_counter(), 0
        for batch in found:
            images += len(batch["image"] if isinstance(batch, dict) else batch[0])
        print(images / (time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main()

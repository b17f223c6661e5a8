"""Small archives of the exact published layouts, made for tests: ILSVRC, Kaggle, CIFAR-10, Tiny ImageNet, ..."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from tests.conftest import picture

# Synset ids are in another order than the WNIDs: 1 is the last of them, 2 the first, 3 the second.
SYNSETS = [
    (1, "n02119789", "kit fox, Vulpes macrotis"),
    (2, "n01440764", "tench, Tinca tinca"),
    (3, "n01514668", "cock"),
    (4, "n00001740", "entity"),  # a parent: above the classes, and first in the alphabet
]
WNIDS = ["n01440764", "n01514668", "n02119789"]
WORDS = ["tench, Tinca tinca", "cock", "kit fox, Vulpes macrotis"]
COLOUR = {"n01440764": 0, "n01514668": 1, "n02119789": 2}  # a picture's color says its class
TRUTH = [1, 2, 3, 2, 1, 3]  # synset ids of the validation images


def jpeg(wnid: str, number: int, width: int = 80, height: int = 64) -> bytes:
    """A picture in the color of its class."""
    return encoded(picture(COLOUR[wnid], number, width, height), "JPEG", quality=90)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def color(image: np.ndarray) -> int:
    """The class that a picture shows by its color."""
    return int(image.reshape(-1, 3).mean(0).argmax())


def meta(year: int) -> bytes:
    """A devkit's meta.mat: a struct array with the fields of the published one."""
    kinds = [
        *((f"ILSVRC{year}_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")),
        *(("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")),
    ]
    rows = np.zeros((len(SYNSETS), 1), dtype=kinds)
    for row, (number, wnid, words) in zip(rows[:, 0], SYNSETS):
        parent = number > 3
        children = np.array([1.0, 2.0, 3.0]) if parent else np.array([])
        for name, value in zip(
            rows.dtype.names,
            (
                float(number),
                wnid,
                words,
                "a gloss",
                float(len(children)),
                children,
                float(parent),
                0.0 if parent else 5.0,
            ),
        ):
            row[name] = value
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows})
    return buffer.getvalue()


def ilsvrc_2012(folder: Path, count: int = 5) -> Path:
    """The organizers' archives of 2012."""
    folder.mkdir(parents=True)
    classes = {f"{w}.tar": tar({f"{w}_{i}.JPEG": jpeg(w, i) for i in range(count)}) for w in reversed(WNIDS)}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar(classes))
    val = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": jpeg(wnid_of(number), 50 + i) for i, number in enumerate(TRUTH)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(dict(reversed(val.items()))))  # not in order of names
    (folder / "ILSVRC2012_img_test_v10102019.tar").write_bytes(
        tar({f"test/ILSVRC2012_test_{i + 1:08d}.JPEG": jpeg(WNIDS[0], i) for i in range(2)})
    )
    kit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta(2012),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": truth(TRUTH),
        "ILSVRC2012_devkit_t12/readme.txt": b"words",
    }
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar(kit, "w:gz"))
    return folder


def ilsvrc_2010(folder: Path) -> Path:
    """The organizers' archives of 2010: test labels, too, and a patch for a damaged image."""
    folder.mkdir(parents=True)
    classes = {w: {f"{w}_{i}.JPEG": jpeg(w, i) for i in range(4)} for w in WNIDS}
    classes[WNIDS[1]][f"{WNIDS[1]}_2.JPEG"] = b"damaged"
    (folder / "ILSVRC2010_images_train.tar").write_bytes(tar({f"{w}.tar": tar(each) for w, each in classes.items()}))
    for split, count in (("val", 6), ("test", 3)):
        members = {
            f"{split}/ILSVRC2010_{split}_{i + 1:08d}.JPEG": jpeg(wnid_of(TRUTH[i]), 70 + i) for i in range(count)
        }
        (folder / f"ILSVRC2010_images_{split}.tar").write_bytes(tar(members))
    (folder / "patch_images.tar").write_bytes(
        tar({f"patch_images/train/{WNIDS[1]}_2.JPEG": jpeg(WNIDS[1], 99), "patch_images/test/none.JPEG": b""})
    )
    kit = {
        "devkit-1.0/data/meta.mat": meta(2010),
        "devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt": truth(TRUTH),
    }
    (folder / "ILSVRC2010_devkit-1.0.tar.gz").write_bytes(tar(kit, "w:gz"))
    (folder / "ILSVRC2010_test_ground_truth.txt").write_bytes(truth(TRUTH[:3]))
    return folder


def wnid_of(number: int) -> str:
    return next(wnid for n, wnid, _ in SYNSETS if n == number)


def truth(numbers: list[int]) -> bytes:
    return "".join(f"{number}\n" for number in numbers).encode()


def release(folder: Path) -> Path:
    """A larger release: one tar a class in a folder, with WordNet's words."""
    folder.mkdir(parents=True)
    for wnid in WNIDS:
        (folder / f"{wnid}.tar").write_bytes(tar({f"{wnid}_{i}.JPEG": jpeg(wnid, i) for i in range(5)}))
    (folder / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{w}\t{n}\n" for w, n in zip(WNIDS, WORDS)))
    return folder


def kaggle(folder: Path) -> Path:
    """Kaggle's folder."""
    data = folder / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid in WNIDS:
        (data / "train" / wnid).mkdir(parents=True)
        for i in range(4):
            (data / "train" / wnid / f"{wnid}_{i}.JPEG").write_bytes(jpeg(wnid, i))
    lines = ["ImageId,PredictionString"]
    for split in ("val", "test"):
        (data / split).mkdir()
        for i, number in enumerate(TRUTH):
            name = f"ILSVRC2012_{split}_{i + 1:08d}"
            (data / split / f"{name}.JPEG").write_bytes(jpeg(wnid_of(number), 50 + i))
            if split == "val":
                lines.insert(1, f"{name},{wnid_of(number)} 1 2 30 40 {wnid_of(number)} 3 4 50 60 ")  # in no order
    (folder / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"{w} {n}\n" for w, n in zip(WNIDS, WORDS)))
    (folder / "ILSVRC" / "Annotations").mkdir()
    return folder


def tiny_imagenet(folder: Path) -> Path:
    """Tiny ImageNet's folder."""
    root = folder / "tiny-imagenet-200"
    for wnid in WNIDS:
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0\t0\t62\t62\n")
        for i in range(4):
            (root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG").write_bytes(jpeg(wnid, i, 64, 64))
    lines = []
    for split in ("val", "test"):
        (root / split / "images").mkdir(parents=True)
        for i, number in enumerate(TRUTH):
            (root / split / "images" / f"{split}_{i}.JPEG").write_bytes(jpeg(wnid_of(number), 50 + i, 64, 64))
            lines.append(f"val_{i}.JPEG\t{wnid_of(number)}\t0\t32\t44\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines[:6]) + "\n")
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (root / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{w}\t{n}\n" for w, n in zip(WNIDS, WORDS)))
    return folder


def hub(folder: Path, form: str = "parquet") -> Path:
    """The hub's shards: ``image`` a struct, ``label``, class names in the metadata, an unlabeled test split."""
    (folder / "data").mkdir(parents=True)
    features = {"image": {"_type": "Image"}, "label": {"names": WORDS, "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    shards = {
        "train-00000-of-00002": [(w, i, n) for n, w in enumerate(WNIDS) for i in range(3)],
        "train-00001-of-00002": [(w, i + 3, n) for n, w in reversed(list(enumerate(WNIDS))) for i in range(2)],
        "validation-00000-of-00001": [(wnid_of(n), 50 + i, WNIDS.index(wnid_of(n))) for i, n in enumerate(TRUTH)],
        "test-00000-of-00001": [(WNIDS[0], 90, -1)],
    }
    for name, rows in shards.items():
        table = pa.table(
            [
                pa.array([{"bytes": jpeg(w, i), "path": f"{w}_{i}.JPEG"} for w, i, _ in rows], schema.field(0).type),
                pa.array([label for _, _, label in rows], pa.int64()),
            ],
            schema=schema,
        )
        if form == "parquet":
            pq.write_table(table, folder / "data" / f"{name}.parquet", row_group_size=4)
        else:
            with pa.ipc.new_stream(folder / "data" / f"{name}.arrow", schema) as writer:
                writer.write_table(table, 4)
    return folder


def webdataset(folder: Path) -> Path:
    """WebDataset shards with numbers for classes, and their names beside them."""
    folder.mkdir(parents=True)
    for shard in range(2):
        members = {}
        for i in range(6):
            wnid = WNIDS[i % 3]
            members[f"{shard:04d}/sample{i}.cls"] = str(i % 3).encode()
            members[f"{shard:04d}/sample{i}.jpg"] = jpeg(wnid, 10 * shard + i)
            members[f"{shard:04d}/sample{i}.json"] = b"{}"
        (folder / f"some-train-{shard:06d}.tar").write_bytes(tar(members))
    members = {}
    for i, number in enumerate(TRUTH):
        members[f"v{i}.jpg"] = jpeg(wnid_of(number), 50 + i)
        members[f"v{i}.cls"] = f"{WNIDS.index(wnid_of(number))}\n".encode()
    (folder / "some-val-000000.tar").write_bytes(tar(members))
    (folder / "classnames.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def cifar_pixels(number: int, label: int) -> np.ndarray:
    """(32, 32, 3) uint8, the same for the same numbers."""
    return np.random.default_rng([number, label]).integers(0, 256, (32, 32, 3)).astype(np.uint8)


CIFAR_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def cifar_rows(batch: int) -> list[tuple[int, int]]:
    """Number and label of each image of a batch."""
    return [(10 * batch + i, (7 * i + 3) % 10) for i in range(10)]


def cifar10(folder: Path, form: str) -> Path:
    """CIFAR-10's archive of the Python or the binary version, with ten images a batch."""
    folder.mkdir(parents=True, exist_ok=True)
    members: dict[str, bytes] = {}
    for batch, name in enumerate(CIFAR_BATCHES):
        rows = cifar_rows(batch)
        flat = [cifar_pixels(number, label).transpose(2, 0, 1).reshape(-1) for number, label in rows]
        if form == "python":
            told = {
                b"batch_label": name.encode(),
                b"labels": [label for _, label in rows],
                b"data": np.stack(flat),
                b"filenames": [f"thing_s_{number:06d}.png".encode() for number, _ in rows],
            }
            members[f"cifar-10-batches-py/{name}"] = pickle.dumps(told, protocol=2)
        else:
            data = b"".join(bytes([label]) + pixels.tobytes() for (_, label), pixels in zip(rows, flat))
            members[f"cifar-10-batches-bin/{name}.bin"] = data
    path = folder / f"cifar-10-{form}.tar.gz"
    path.write_bytes(tar(members, "w:gz"))
    return path

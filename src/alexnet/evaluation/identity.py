"""What tells one net from another, and one preprocessing: hashes to which files of answers are bound."""

import hashlib

import numpy as np

from alexnet import files
from alexnet.data.preprocessing import Preprocessing
from alexnet.nets.network import Network


def weights_hash(net: Network) -> str:
    """SHA-256 of all weights and buffers as they are in memory, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        content = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {content.dtype} {content.shape}\n".encode())
        digest.update(content.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def preprocessing_hash(preprocessing: Preprocessing) -> str:
    """SHA-256 of what becomes of an image: sizes, scale, way of resizing, mean image."""
    described = [preprocessing.size, preprocessing.crop, preprocessing.scale, preprocessing.resize]
    digest = hashlib.sha256(files.to_json(described).encode())
    digest.update(preprocessing.mean_image.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

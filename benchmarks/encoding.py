"""What the dataset's JPEG costs: PSNR against the same pixels kept raw, and bytes.

    python -m benchmarks.encoding IMAGES >docs/raw/encoding.json

IMAGES is a source of photos. Every image is decoded and scaled once; each encoding is then decoded again and compared
with those pixels. What it costs in error is measured by training: see docs/data.md.
"""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from alexnet.data.codec import decode_square
from alexnet.data.sources import open_source
from alexnet.machine import cores
from benchmarks import harness

ENCODINGS = [(quality, sub) for quality in (75, 85, 90, 95, 98) for sub in ("4:2:0", "4:4:4")]


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels, dB."""
    mean = float(((found.astype(np.float64) - wanted) ** 2).mean())
    return 10 * np.log10(255**2 / mean) if mean else float("inf")


def of(content: bytes | np.ndarray) -> list[tuple[float, int]]:
    """PSNR and bytes of one image in each encoding."""
    pixels = decode_square(content)
    image = Image.fromarray(pixels)
    found = []
    for quality, sub in ENCODINGS:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=sub)
        found.append((psnr(np.asarray(Image.open(buffer)), pixels), len(buffer.getvalue())))
    return found


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("images")
    parser.add_argument("--every", type=int, default=7, help="one image in so many")
    options = parser.parse_args()
    source = open_source(options.images)
    rows = range(0, len(source.listing), options.every)
    with ThreadPoolExecutor(cores()) as pool:
        found = np.array(list(pool.map(lambda row: of(source.read(row)), rows)))
    told = [
        {
            "quality": quality,
            "subsampling": sub,
            "psnr_mean": round(float(found[:, i, 0].mean()), 2),
            "psnr_5th_percentile": round(float(np.percentile(found[:, i, 0], 5)), 2),
            "bytes_mean": round(float(found[:, i, 1].mean())),
        }
        for i, (quality, sub) in enumerate(ENCODINGS)
    ]
    harness.emit({"images": len(rows), "raw_bytes": 256 * 256 * 3, "encodings": told})


if __name__ == "__main__":
    main()

"""Decoding, scaling and cropping, against NumPy's averages, hand-made files and OpenCV's decoders."""

import contextlib
import hashlib
import io
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from alexnet import native, prepare
from alexnet.data import codec as images
from tests.data.archives import encoded


def test_shorter_side_by_area_average_and_central_square():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3)).astype(np.uint8)
    found = np.asarray(images.decode_square(encoded(Image.fromarray(pixels)), 64)).astype(int)
    square = pixels[:, 32:160].astype(float)  # twice the size: each pixel is the mean of 2x2
    expected = square.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("kernels", ["compiled", "portable"])
@pytest.mark.parametrize(("height", "width", "size"), [(403, 537, 256), (300, 257, 256), (66, 65, 64), (1000, 90, 9)])
@pytest.mark.parametrize("resize", ["shorter-side", "warp"])
def test_shrinking_is_the_mean_of_the_area_in_float64(kernels, height, width, size, resize):
    """Each pixel by its covered area, from a dense matrix an axis; and the same bytes on either path."""
    if kernels == "compiled" and not native.available():
        pytest.skip(native.status().words)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    with native.portable() if kernels == "portable" else contextlib.nullcontext():
        found = images.decode_square(pixels, size, resize)

    def matrix(length: int, side: int) -> np.ndarray:
        start = (length - side) / 2
        edges = start + np.arange(size + 1) * side / size
        covered = np.minimum(edges[1:, None], np.arange(length) + 1) - np.maximum(edges[:-1, None], np.arange(length))
        return covered.clip(0) * size / side

    short = min(height, width)
    sides = (height, width) if resize == "warp" else (short, short)
    expected = np.einsum(
        "yh,hwc,xw->yxc", matrix(height, sides[0]), pixels.astype(float), matrix(width, sides[1]), optimize=True
    )
    assert found.shape == (size, size, 3) and np.abs(found - expected).max() < 0.75  # rounding, and 1/2048 of a weight
    assert hashlib.sha256(found.tobytes()).hexdigest()[:8] == BYTES[height, size, resize]


# The bytes on one machine: either path must give them, so that no dataset depends on a compiler.
BYTES = {
    (403, 256, "shorter-side"): "ce00b9e4",
    (403, 256, "warp"): "c08e4dc3",
    (300, 256, "shorter-side"): "09eac7c2",
    (300, 256, "warp"): "d6cd977f",
    (66, 64, "shorter-side"): "f4476963",
    (66, 64, "warp"): "8992048f",
    (1000, 9, "shorter-side"): "4c3094f8",
    (1000, 9, "warp"): "d8016e8a",
}


def test_large_photos_are_reduced_while_they_are_decoded():
    """By libjpeg, to no less than 1.5 times the square; a smooth picture comes out as by the long way."""
    y, x = np.mgrid[:1200, :1600]
    smooth = np.stack([x // 8, y // 6, 128 + 100 * np.sin(x / 90) * np.cos(y / 70)], -1).astype(np.uint8)
    data = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    assert [images._decode_jpeg(data, size).shape for size in (800, 401, 400, 256, 200, 100, 64)] == [
        (1200, 1600, 3), (1200, 1600, 3), (600, 800, 3), (600, 800, 3), (300, 400, 3), (150, 200, 3), (150, 200, 3),
    ]  # fmt: skip
    long_way = images.decode_square(np.asarray(Image.open(io.BytesIO(data))), 256)
    assert np.abs(images.decode_square(data, 256).astype(int) - long_way).max() <= 3


def test_jpegs_pixels_are_pillows(dataset):
    """What simplejpeg decodes is to the bit what Pillow makes of it."""
    for row in dataset.rows("train")[:10]:
        data = bytes(dataset.encoded(row))
        assert (dataset.image(row) == np.asarray(Image.open(io.BytesIO(data)))).all()
    room = images.room_for(64)
    assert room.shape == (64, 64, 3) and room.flags.c_contiguous and room.ctypes.data % 32 == 16
    assert np.shares_memory(images.decode_stored(data, "jpeg", 64, room), room) and (room == dataset.image(row)).all()


def test_an_image_of_the_right_size_is_kept_and_a_smaller_one_enlarged():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert (np.asarray(images.decode_square(encoded(Image.fromarray(pixels)), 64)) == pixels).all()
    assert images.decode_square(encoded(Image.fromarray(pixels[:20, :30])), 64).shape == (64, 64, 3)


def scene(mode: str = "RGB") -> Image.Image:
    """A smooth 64x64 picture with many colors."""
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([4 * x, 4 * y, 128 + 100 * np.sin(x / 9) * np.cos(y / 7)], -1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def see_through() -> Image.Image:
    alpha = Image.fromarray(np.mgrid[:64, :64][0].astype(np.uint8) * 4)
    image = scene()
    image.putalpha(alpha)
    return image


def cmyk(transform: int | None) -> bytes:
    """A JPEG of four components: 0, CMYK with Adobe's marker; 2, YCCK; None, CMYK without a marker."""
    data = bytearray(encoded(scene("CMYK"), "JPEG", quality=95))
    marker = data.index(b"\xff\xee")
    length = 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")
    if transform is None:
        del data[marker : marker + length]
    else:
        data[marker + length - 1] = transform
    return bytes(data)


def sixteen(channels: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 65536, (64, 64, channels)).astype(np.uint16)
    return cv2.imencode(".png", pixels)[1].tobytes()


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(scene(), "JPEG", exif=exif, quality=95)


ODD = {
    "gray JPEG": encoded(scene("L"), "JPEG", quality=95),
    "progressive JPEG": encoded(scene(), "JPEG", quality=90, progressive=True),
    "JPEG without subsampling": encoded(scene(), "JPEG", quality=90, subsampling=0),
    "CMYK JPEG of Adobe's": cmyk(0),
    "YCCK JPEG": cmyk(2),
    "CMYK JPEG without a marker": cmyk(None),
    "gray PNG": encoded(scene("L")),
    "PNG of one bit": encoded(scene("1")),
    "palette PNG": encoded(scene().quantize(64)),
    "gray PNG of 16 bits": sixteen(1),
    "RGB PNG of 16 bits": sixteen(3),
    "GIF": encoded(scene().quantize(64), "GIF"),
    "BMP": encoded(scene(), "BMP"),
    "TIFF": encoded(scene(), "TIFF"),
    "WebP": encoded(scene(), "WEBP", quality=90),
    "WebP, lossless": encoded(scene(), "WEBP", lossless=True),
    **{f"JPEG, EXIF orientation {turn}": rotated(turn) for turn in range(1, 9)},
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_what_opencv_sees(kind):
    found = np.asarray(images.decode_square(ODD[kind], 64)).astype(int)
    expected = cv2.imdecode(np.frombuffer(ODD[kind], np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 2


@pytest.mark.parametrize(
    "data",
    [
        encoded(see_through()),
        encoded(see_through(), "WEBP", lossless=True, exact=True),
        encoded(see_through().convert("LA")),
    ],
)
def test_what_is_transparent_is_white(data):
    found = np.asarray(images.decode_square(data, 64)).astype(float)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).astype(float)
    color, alpha = (pixels[..., 2::-1], pixels[..., 3:]) if pixels.shape[2] == 4 else (pixels[..., :1], pixels[..., 1:])
    expected = color * alpha / 255 + 255 * (1 - alpha / 255)
    assert np.abs(found - expected).max() <= 2 and found[0].min() >= 253


def test_a_palette_with_a_transparent_color():
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    assert (np.asarray(images.decode_square(encoded(image, transparency=1), 16)) == 255).all()
    assert (np.asarray(images.decode_square(encoded(image, transparency=0), 16)) == (200, 10, 10)).all()


def test_an_animations_first_picture():
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (np.asarray(images.decode_square(data, 16)) == (255, 0, 0)).all()


def test_dark_images_of_16_bits_stay_dark():
    deep = np.full((16, 16), 200, np.uint16)  # below one of 256 levels
    assert (np.asarray(images.decode_square(cv2.imencode(".png", deep)[1].tobytes(), 16)) == 1).all()


def test_damaged_exif_does_no_harm():
    data = rotated(6)
    start = data.index(b"Exif\0\0") + 6
    broken = data[:start] + b"MM\0*\xff\xff\xff\xff" + data[start + 8 :]
    assert np.asarray(images.decode_square(broken, 64)).shape == (64, 64, 3)


def test_heic_with_the_extra(monkeypatch):
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = encoded(scene(), "HEIF", quality=95)
    assert np.abs(np.asarray(images.decode_square(data, 64)).astype(int) - np.asarray(scene())).mean() < 4
    images.heic.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(images.BadImage, match=r"pip install 'alexnet\[heic\]'"):
        images.decode_square(data)
    images.heic.cache_clear()


def test_warp_takes_all_of_the_image():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3)).astype(np.uint8)
    found = np.asarray(images.decode_square(encoded(Image.fromarray(pixels)), 64, "warp")).astype(int)
    expected = pixels.astype(float).reshape(64, 2, 64, 3, 3).mean((1, 3))  # each pixel is the mean of 2x3
    assert np.abs(found - expected).max() <= 1
    tall = images.decode_square(encoded(Image.fromarray(pixels[:40])), 64, "warp")
    assert tall.shape == (64, 64, 3)


def test_camera_rotation_is_undone():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    found = np.asarray(images.decode_square(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95), 16))
    assert found[:, 12:].min() > 200 and found[:, :4].max() < 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, no image", "not decodable"),
        (encoded(Image.effect_noise((90, 90), 50), "JPEG")[:900], "not decodable"),
        (encoded(Image.new("RGB", (4, 300))), "4x300 pixels: a side below 8"),
        (encoded(Image.new("1", (30_000, 10_000))), "too large"),
    ],
)
def test_bad_images_say_why(data, reason):
    with pytest.raises(images.BadImage, match=reason):
        images.decode_square(data)


def test_stored_pixels_come_back():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    raw = images.encode(image, "raw")
    assert (images.decode_stored(raw, "raw", 32) == np.asarray(image)).all()
    assert (images.decode_stored(image.tobytes(), "raw", 32) == np.asarray(image)).all()  # as format 1 had it
    assert (cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] == np.asarray(image)).all()
    with pytest.raises(images.BadImage):
        images.decode_stored(raw[:-1], "raw", 32)
    with pytest.raises(images.BadImage):
        images.decode_stored(images.encode(image, "jpeg"), "jpeg", 64)


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"<html>not found</html>", "not decodable"),
    "cut off": (encoded(scene(), "JPEG", quality=95)[:800], "not decodable"),
    "cut off PNG": (encoded(scene())[:700], "not decodable"),
    "corrupt": (encoded(scene())[:200] + bytes(50) + encoded(scene())[250:], "not decodable"),
    "tiny": (encoded(Image.new("RGB", (4, 300))), "4x300 pixels: a side below 8"),
    "bomb": (encoded(Image.new("1", (30_000, 10_000))), "too large"),
}


def test_one_folder_with_every_odd_and_bad_file(tmp_path):
    """Each is right, or left out with its reason; nothing stops the rest."""
    for name in ("odd", "plain ünï 猫"):
        (tmp_path / "source" / name / "deeper" / "still").mkdir(parents=True)
    for number, (kind, data) in enumerate(ODD.items()):
        (tmp_path / "source" / "odd" / "deeper" / f"{number} {kind}.JPEG").write_bytes(data)  # whatever it is
    (tmp_path / "source" / "odd" / "p.png").write_bytes(encoded(see_through()))
    (tmp_path / "source" / "odd" / "h.heic").write_bytes(heic_file())
    for kind, (data, _) in BAD.items():
        (tmp_path / "source" / "odd" / f"bad {kind}.jpg").write_bytes(data)
    for number in range(12):
        scene().save(tmp_path / "source" / "plain ünï 猫" / "deeper" / "still" / f"{number}.png")
    (tmp_path / "source" / "odd" / "loop").symlink_to(tmp_path / "source")
    os.mkfifo(tmp_path / "source" / "odd" / "pipe.jpg")
    (tmp_path / "source" / "odd" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=64, format="raw", val_fraction=0, max_bad=0.3)
    reported = dataset.skipped()
    assert {row["name"] for row in reported} == {"odd/gone.jpg", *(f"odd/bad {kind}.jpg" for kind in BAD)}
    assert {row["class"] for row in reported} == {"odd"}
    assert next(row["reason"] for row in reported if "gone" in row["name"]).startswith("cannot be read: No such file")
    for row in (row for row in reported if "gone" not in row["name"]):
        assert row["reason"].startswith(BAD[row["name"][8:-4]][1]), row
    assert dataset.splits == {"train": len(ODD) + 2 + 12}
    rows = {dataset.name(row): row for row in dataset.rows("train")}
    for number, (kind, data) in enumerate(ODD.items()):
        found = dataset.image(rows[f"odd/deeper/{number} {kind}.JPEG"]).astype(int)
        assert np.abs(found - np.asarray(images.decode_square(data, 64)).astype(int)).max() == 0, kind


def heic_file() -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return encoded(scene(), "HEIF", quality=95)


RAMP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def tiff(pixels: np.ndarray, **options) -> bytes:
    return encoded(Image.fromarray(pixels), "TIFF", **options)


def white_is_zero(data: bytes) -> bytes:
    """A TIFF with its photometric interpretation changed to the inverted one."""
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"
    return data.replace(entry + b"\x01", entry + b"\x00")


RANGES = {
    "floats of 0 to 1": (tiff(RAMP), RAMP * 255),
    "dark floats": (tiff(RAMP * 0.01), RAMP * 2.55),
    "inverted floats": (white_is_zero(tiff(RAMP)), 255 - RAMP * 255),
    "16 bits, dark": (tiff((RAMP * 700).astype(np.uint16)), RAMP * 700 / 257),
    "16 bits, whole range": (tiff((RAMP * 65535).astype(np.uint16)), RAMP * 255),
    "16 bits, inverted": (white_is_zero(tiff((RAMP * 65535).astype(np.uint16))), 255 - RAMP * 255),
    "PNG of 16 bits": (encoded(Image.fromarray((RAMP * 65535).astype(np.uint16))), RAMP * 255),
    "PGM of 16 bits": (b"P5 64 64 65535\n" + (RAMP * 65535).astype(">u2").tobytes(), RAMP * 255),
    "PGM of 10 bits": (b"P5 64 64 1023\n" + (RAMP * 1023).astype(">u2").tobytes(), RAMP * 255),
}


@pytest.mark.parametrize("kind", RANGES)
def test_the_range_of_deep_pixels_is_their_forms(kind):
    data, expected = RANGES[kind]
    pixels = images.decode_square(data, 64).astype(float)
    assert np.abs(pixels - expected[..., None]).max() <= 1


WITHOUT_RANGE = {
    "floats of 0 to 255": RAMP * 255,
    "floats of -1 to 1": RAMP * 2 - 1,
    "floats beyond 1": RAMP * 1.5,
    "NaN": np.where(RAMP > 0.5, np.nan, RAMP),
    "32 bits": (RAMP * 2**30).astype(np.int32),
    "32 bits, dark": (RAMP * 255).astype(np.int32),
}


@pytest.mark.parametrize("kind", WITHOUT_RANGE)
def test_pixels_without_a_range_are_left_out_with_the_reason(kind):
    pixels = WITHOUT_RANGE[kind]
    with pytest.raises(images.BadImage, match="pixels without a known range"):
        images.decode_square(tiff(pixels if pixels.dtype == np.int32 else pixels.astype(np.float32)), 64)


def modes() -> dict[str, Image.Image]:
    """The same smooth picture in every mode that Pillow has for files and for its own work."""
    from PIL import ImageCms

    lab = ImageCms.profileToProfile(
        scene(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    plain = {mode: scene(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LA")}
    return {
        **plain, "LAB": lab, "La": scene("LA").convert("La"), "RGBa": scene("RGBA").convert("RGBa"),
        "PA": scene("P").convert("PA"),
    }  # fmt: skip


@pytest.mark.parametrize("mode", modes())
def test_every_mode_of_pillows(mode):
    image = modes()[mode]
    expected = scene("L" if mode in ("L", "LA", "La") else "1" if mode == "1" else "P" if "P" in mode else "RGB")
    difference = np.asarray(images.to_rgb(image)).astype(int) - np.asarray(expected.convert("RGB")).astype(int)
    assert np.abs(difference).max() <= 40 and np.abs(difference).mean() < 3  # LAB and HSV lose some


@pytest.mark.parametrize("fill", [1, 2, 7, 300])
def test_fill_bytes_before_a_marker_hide_no_rotation(fill):
    data = rotated(6)
    for at in (2, 20):  # before the first segment, and before one behind it
        filled = data[:at] + b"\xff" * fill + data[at:]
        upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(images.decode_square(filled, 64).astype(int) - upright.astype(int)).max() <= 2


@pytest.mark.parametrize("turn", range(1, 9))
def test_rotation_in_every_form_that_has_it(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = np.asarray(images.decode_square(rotated(turn), 64)).astype(int)
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        turned = images.decode_square(encoded(scene(), form, exif=exif, **options), 64).astype(int)
        assert np.abs(turned - upright).mean() < 4, form


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    import zlib

    crc = zlib.crc32(kind + content) if crc is None else crc
    return len(content).to_bytes(4, "big") + kind + content + crc.to_bytes(4, "big")


def png_chunks() -> dict[str, bytes]:
    import zlib

    text = b"comment\0\0" + zlib.compress(b"x" * (1 << 21))
    profile = b"icc\0\0" + zlib.compress(bytes(3 << 20))
    return {
        "large text": chunk(b"zTXt", text),
        "large texts": chunk(b"zTXt", text) * 70,
        "large profile": chunk(b"iCCP", profile),
        "wrong checksum of a text": chunk(b"tEXt", b"a\0b", 1),
        "wrong checksum of a profile": chunk(b"iCCP", profile, 1),
        "wrong checksum of EXIF": chunk(b"eXIf", b"MM\0*", 1),
        "broken text": chunk(b"iTXt", b"\xff"),
        "unknown chunk": chunk(b"quUx", b"\xff", 1),
    }


@pytest.mark.parametrize("kind", png_chunks())
@pytest.mark.parametrize("place", ["before the pixels", "behind them"])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_damaged_chunks_beside_a_pngs_pixels_do_no_harm(kind, place, mode):
    image = scene(mode)
    clean = encoded(image, **({"transparency": 3} if mode == "P" else {}))
    at = clean.index(b"IDAT") - 4 if place == "before the pixels" else clean.index(b"IEND") - 4
    damaged = clean[:at] + png_chunks()[kind] + clean[at:]
    assert (images.decode_square(damaged, 64) == images.decode_square(clean, 64)).all()


def test_damage_to_the_pixels_themselves_is_still_damage():
    data = bytearray(encoded(scene()))
    data[data.index(b"IDAT") + 40] ^= 255
    with pytest.raises(images.BadImage, match="not decodable"):
        images.decode_square(bytes(data), 64)


def test_damaged_metadata_of_jpeg_and_webp():
    """Segments of applications and chunks of metadata that are short, foreign or broken."""
    jpeg = encoded(scene("CMYK"), "JPEG", quality=95)  # which Pillow alone reads
    plain = images.decode_square(jpeg, 64)
    for marker, content in (
        (0xE2, b"ICC_PROFILE\0\1"),
        (0xED, b"Photoshop 3.0\x008BIM\4"),
        (0xE2, b"MPF\0MM"),
        (0xFE, b""),
    ):
        segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
        assert (images.decode_square(jpeg[:2] + segment + jpeg[2:], 64) == plain).all(), marker
    webp = encoded(scene(), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08")
    for broken in (webp.replace(b"EXIF", b"EXIG"), webp[:-8], webp + b"junk"):
        assert (images.decode_square(broken, 64) == np.asarray(scene())).all()


@pytest.mark.parametrize("setting", [True, False])
def test_the_users_setting_of_truncated_images_is_kept_and_changes_nothing(setting, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", setting)
    with pytest.raises(images.BadImage, match="not decodable"):
        images.decode_square(encoded(scene())[:2000], 64)
    with pytest.raises(images.BadImage, match="not decodable"):
        images.decode_square(BAD["cut off"][0], 64)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is setting


def test_importing_leaves_pillow_as_it_is():
    import subprocess

    code = "from PIL import ImageFile; ImageFile.LOAD_TRUNCATED_IMAGES = True; import alexnet.data.codec; "
    code += "assert ImageFile.LOAD_TRUNCATED_IMAGES"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sixteen_bit_gray_with_a_transparent_value():
    pixels = np.full((16, 16), 300, np.uint16)
    pixels[:8] = 40_000
    data = encoded(Image.fromarray(pixels))
    at = data.index(b"IDAT") - 4
    found = images.decode_square(data[:at] + chunk(b"tRNS", (300).to_bytes(2, "big")) + data[at:], 16)
    assert (found[8:] == 255).all() and (found[:8] == 156).all()

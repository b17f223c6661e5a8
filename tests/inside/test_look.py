"""``alexnet show RUN IMAGE``: the sheet, its numbers, what a wrong class is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.figures.inside import is_one_image
from alexnet.figures.inside_sheet import inside_sheet, strongest
from alexnet.inside.look import cut_of, look
from alexnet.inside.sanity import rank_correlation
from tests.figures.drawn import ODD


def test_one_image_is_drawn_on_its_way_through_the_net(alexnet, run, run_folder, image, tmp_path):
    status, out, err = alexnet("show", run_folder, image, "--output", tmp_path, "--json")
    assert (status, err) == (0, "")
    described = json.loads(out)
    assert described["pictures"] == [str(tmp_path / f"inside-{image.stem}.png")]
    assert Image.open(tmp_path / f"inside-{image.stem}.png").width == 1600
    assert described["class"] == described["top"][0][0] == run(str(image)).top[0][0]
    assert list(described["layers"]) == ["conv1", "pool1", "conv2", "pool2", "fc3"]
    _, layers = run.features(str(image), ["conv2"])
    largest = layers["conv2"][0].max((1, 2))
    first = described["layers"]["conv2"][0]
    assert first["unit"] == int(largest.argmax()) and first["largest"] == pytest.approx(
        float(largest.max()), rel=0.01
    )  # bf16
    assert np.shape(described["occlusion"]["losses"]) == (12, 12)
    assert set(described["correlation_with_random_weights"]) == {"gradient", "smooth_gradient", "grad_cam", "occlusion"}
    status, out, _ = alexnet("show", run_folder, image, "--output", tmp_path, "--class", "green")
    assert (status, out) == (0, f"{tmp_path / f'inside-{image.stem}-green.png'}\n")


def test_sheets_of_other_images_are_not_drawn_over(alexnet, run_folder, image, tmp_path):
    output = tmp_path / "out"
    names = ["a/1.png", "b/1.png", "a b.png", "a\nb.png", "\U0001f600.png", "\u732b" * 70 + ".png"]
    sheets = []
    for name in [*names, names[1]]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(image, path)
        status, out, _ = alexnet("show", run_folder, path, "--output", output, "--json")
        assert status == 0
        sheets += json.loads(out)["pictures"]
    short = [Path(sheet).name for sheet in sheets]
    assert short[:5] == ["inside-1.png", "inside-1-2.png", "inside-a-b.png", "inside-a-b-2.png", "inside.png"]
    assert len(set(sheets)) == len(names) and sheets[-1] == sheets[1]  # of the same image: again
    (output / "inside-1.png").write_bytes(image.read_bytes())  # a picture of somebody's
    status, _, err = alexnet("show", run_folder, tmp_path / "a" / "1.png", "--output", output)
    assert status == 2 and "no picture of alexnet's" in err


def test_a_map_that_is_the_same_everywhere_has_no_order(alexnet):
    assert rank_correlation(np.zeros((3, 3)), np.arange(9.0).reshape(3, 3)) is None
    assert rank_correlation(np.arange(9.0), np.arange(9.0)) == pytest.approx(1)


def test_a_folder_or_several_images_are_predictions_as_ever(run_folder, pictures, image):
    assert is_one_image(run_folder, [str(image)])
    assert not is_one_image(run_folder, [str(image)] * 2) and not is_one_image(run_folder, [str(pictures)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["IMAGE", "--class", "gren"], "perhaps you meant green; it knows blue, green, red"),
        (["PICTURES", "--class", "green"], "--class: the maps are of one image; give one file"),
        (["missing.jpg"], "missing.jpg"),
        (["IMAGE", "--only-errors"], "--only-errors: images given by name have no known class"),
    ],
)
def test_what_cannot_be_meant_is_a_line(alexnet, run_folder, image, pictures, tmp_path, words, said):
    words = [{"IMAGE": str(image), "PICTURES": str(pictures)}.get(word, word) for word in words]
    status, out, err = alexnet("show", run_folder, *words, "--output", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1) and said in err
    assert not list(tmp_path.iterdir())


def test_the_frame_is_what_the_net_sees():
    # 500x375 becomes the central 375x375 at 256x256, of which the net sees the central 224x224
    top, left, bottom, right = cut_of((375, 500), 256, 224, "shorter-side")
    assert (top, bottom) == pytest.approx((16 * 375 / 256, 240 * 375 / 256))
    assert (left, right) == pytest.approx((62.5 + 16 * 375 / 256, 62.5 + 240 * 375 / 256))
    assert cut_of((100, 300), 100, 100, "warp") == pytest.approx((0, 0, 100, 300))


def test_the_strongest_units_come_in_order():
    values = np.zeros((4, 2, 2), np.float32)
    values[2, 1, 1], values[0, 0, 1] = 5, 3
    assert strongest(values, 3) == [(2, 5.0), (0, 3.0), (1, 0.0)]


def test_odd_names_and_dead_units_are_drawn(run, image):
    seen = look(run, image)
    for name in seen.layers:
        seen.layers[name][...] = 0
    sheet = np.asarray(inside_sheet(seen, ODD[:3], ODD[2] * 9))
    assert sheet.shape[1] == 1600 and sheet.std() > 5


def test_a_sheet_that_pillow_draws_imports_no_axes_of_matplotlibs():
    code = "import sys, alexnet.figures.inside; print([name for name in sys.modules if name == 'matplotlib.axes'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

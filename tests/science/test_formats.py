"""Files of activations, each opened by the program that it is for, and against the activations themselves."""

import csv
import json
import re

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors
import scipy.io
import xarray

from alexnet import UsageError, load
from alexnet.evaluation.activations import activations
from alexnet.science import formats
from alexnet.science.features import write_features
from alexnet.science.formats.columns import MOST_COLUMNS, columns_of
from tests.conftest import picture

LAYERS = ["conv1", "conv2:before", "fc3", "fc4"]
DONE = "80x64, shorter side to 64, its central 64x64, center 48x48 (rows 8 to 55, columns 8 to 55)"
SUFFIXES = [".npy", ".h5", ".mat", ".parquet", ".arrow", ".safetensors", ".nc"]


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    """A list of five images in an order of its own; the second cannot be read."""
    folder = tmp_path_factory.mktemp("stimuli")
    names = ["é.png", "bad.png", "b.png", "a.png", "d.png"]
    for number, name in enumerate(names):
        picture(number % 3, number).save(folder / name)
    (folder / "bad.png").write_bytes(b"bad")
    labels = ["cat", "cat", "dog", "", "cat"]
    lines = [f"{i},{name},{label},{OTHERS[i]}" for i, (name, label) in enumerate(zip(names, labels))]
    head = ",file,Category,stimulus_id,name,view angle,trial,group"
    (folder / "list.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def expected(small_run, stimuli):
    (batch,) = activations(load(small_run, precision="float32"), stimuli, LAYERS)
    return batch


@pytest.fixture(scope="module")
def run(small_run):
    return load(small_run, precision="float32")


@pytest.fixture
def written(run, stimuli, tmp_path, monkeypatch):
    """Writes a file in batches of two."""
    monkeypatch.setattr("alexnet.evaluation.activations.batch_size", lambda *_: 2)

    def write(suffix, layers=LAYERS):
        path = tmp_path / f"x{suffix}"
        result = write_features(run, stimuli, path, layers)
        assert (result.images, result.bad) == (4, 1) and result.files == [
            str(path) for path in formats.outputs(path, layers)
        ]
        assert {str(path) for path in tmp_path.iterdir()} == set(result.files)
        return path

    return write


OTHERS = ["007,é,0.50,3,x", "bad,bad,9,9,y", "011,b,,4,x y", "012,a,-1e2,5,", "013,d,2,12,z"]
TABLE = {  # of the list's other columns, as the file is to have them
    "unnamed": [0, 2, 3, 4],
    "stimulus_id": ["007", "011", "012", "013"],
    "csv_name": ["é", "b", "a", "d"],
    "view_angle": [0.5, np.nan, -100, 2],
    "trial": [3, 4, 5, 12],
    "group": ["x", "x y", "", "z"],
}
NAMES, LABELS = ["é.png", "b.png", "a.png", "d.png"], ["cat", "dog", "", "cat"]


def check_description(text, left_out=None):
    told = json.loads(text)
    assert told["images"] == 4 if "images" in told else True
    assert told["layers"]["fc3"] == {"shape": [32], "axes": ["unit"], "dropout_factor": 0.5}
    assert told["layers"]["conv1"]["axes"] == ["map", "row", "column"] and "C order" in told["order"]
    assert told["net"] == "small" and told["views"] == 1 and "shorter side" in told["fit"]
    assert told["net_classes"] == ["blue", "green", "red"] and told["layers"]["fc4"]["units"] == "net_classes"
    assert told["source_classes"] == ["cat", "dog"] and told["precision"] == "float32"
    assert told["crop"] == {"side": 48, "of": 64, "views": [{"top": 8, "left": 8, "flipped": False}]}
    assert told["columns"]["name"] == "file" and told["columns"]["label"] == "Category"
    assert told["columns"]["csv_name"] == "name" and told["columns"]["view_angle"] == "view angle"
    assert told["model"] == f"small-{told['weights'][:8]}" and len(told["weights"]) == 64
    (missing,) = told["left_out"] if left_out is None else left_out
    assert missing["source_row"] == 1 and missing["name"] == "bad.png" and "not decodable" in missing["problem"]


def check_table(column):
    """``column`` gives the values of a column by its name; text or numbers."""
    for name, values in {"source_row": [0, 2, 3, 4], **TABLE}.items():
        read = list(column(name))
        assert [type(value) is str for value in read] == [type(value) is str for value in values], (name, read)
        assert read == values if isinstance(values[0], str) else np.array_equal(read, values, equal_nan=True), name


def check_lines(rows):
    """Rows of a CSV, whose texts are the list's own."""
    assert [row["name"] for row in rows] == NAMES and [row["label"] for row in rows] == LABELS
    assert [row["source_row"] for row in rows] == ["0", "2", "3", "4"] and rows[0]["view_angle"] == "0.50"
    assert [row["stimulus_id"] for row in rows] == TABLE["stimulus_id"] and rows[1]["view_angle"] == ""


def close(values, expected):
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)  # batches of two and of four


def test_npy(written, expected):
    path = written(".npy")
    for layer in LAYERS:
        array = np.load(path.with_suffix(f".{layer.replace(':', '-')}.npy"), mmap_mode="r")
        assert isinstance(array, np.memmap)
        close(array, expected.layers[layer])
    rows = list(csv.DictReader(path.with_suffix(".csv").open(encoding="utf-8")))
    check_lines(rows)
    assert {row["done"] for row in rows} == {DONE}
    check_description(path.with_suffix(".json").read_text())
    for file in formats.outputs(path, LAYERS):
        file.unlink()
    close(np.load(written(".npy", ["fc4"])), expected.layers["fc4"])  # of one layer: the name that was given


def test_h5(written, expected):
    with h5py.File(written(".h5")) as file:
        for layer in LAYERS:
            close(file[f"layers/{layer}"][:], expected.layers[layer])
        assert list(file["images/name"].asstr()) == NAMES and list(file["images/label"].asstr()) == LABELS
        assert file["images/done"].asstr()[3] == DONE
        check_table(lambda name: (data.asstr() if (data := file[f"images/{name}"]).dtype == object else data)[:])
        check_description(file.attrs["description"])


def test_mat(written, expected):
    content = scipy.io.loadmat(written(".mat"))
    for layer in LAYERS:
        close(content[layer.replace(":", "_")], expected.layers[layer])
    text = [[str(cell[0]) if cell.size else "" for cell in content[name][:, 0]] for name in ("names", "labels")]
    assert text == [NAMES, LABELS]
    columns = {"source_row": content["source_rows"], **{n: content["columns"][n][0, 0] for n in TABLE}}
    check_table(
        lambda name: [
            (str(cell[0]) if cell.size else "") if isinstance(cell, np.ndarray) else float(cell)
            for cell in columns[name][:, 0]
        ]
    )
    check_description(content["description"][0])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_arrow(written, expected, suffix):
    path = written(suffix)
    frame = pl.read_parquet(path) if suffix == ".parquet" else pl.read_ipc(path)
    for layer in LAYERS:
        close(frame[layer].to_numpy(), expected.layers[layer].reshape(4, -1))
    assert frame["name"].to_list() == NAMES and frame["label"].to_list() == LABELS
    check_table(lambda name: frame[name].to_list())
    if suffix == ".parquet":
        schema, left_out = pq.read_schema(path), pq.read_metadata(path).metadata[b"left_out"]
    else:
        file = pa.ipc.open_file(path)
        last = file.get_batch_with_custom_metadata(file.num_record_batches - 1)
        schema, left_out = file.schema, last.custom_metadata[b"left_out"]
    metadata = schema.field("conv1").metadata
    assert json.loads(metadata[b"shape"]) == [16, 23, 23] and metadata[b"order"] == b"C"
    assert json.loads(metadata[b"axes"]) == ["map", "row", "column"]
    check_description(schema.metadata[b"description"], json.loads(left_out))


def test_safetensors(written, expected):
    with safetensors.safe_open(written(".safetensors"), "numpy") as file:
        for layer in LAYERS:
            close(file.get_tensor(layer), expected.layers[layer])
        rows = list(csv.DictReader(file.get_tensor("images.csv").tobytes().decode().splitlines()))
        check_lines(rows)
        left_out = list(csv.DictReader(file.get_tensor("left_out.csv").tobytes().decode().splitlines()))
        check_description(
            file.metadata()["description"], [{**row, "source_row": int(row["source_row"])} for row in left_out]
        )


def test_netcdf_in_brain_scores_shape(written, expected):
    with xarray.open_dataset(written(".nc"), engine="h5netcdf") as data:
        assembly = data["activations"].load()
        check_description(data.attrs["description"])
    assert assembly.dims == ("presentation", "neuroid") and assembly["stimulus_path"].values.tolist() == NAMES
    assert assembly["label"].values.tolist() == LABELS
    check_table(lambda name: assembly[name].values.tolist())
    assert all(assembly[name].dims == ("presentation",) for name in TABLE)
    model = assembly["model"].values[0]
    assert re.fullmatch("small-[0-9a-f]{8}", model)
    for layer in LAYERS:
        own = assembly[:, assembly["layer"].values == layer]
        close(own.values, expected.layers[layer].reshape(4, -1))
        assert own["neuroid_id"].values[-1] == f"{model}.{layer}.{own.shape[1] - 1}"
        assert own["neuroid_num"].values.tolist() == list(range(own.shape[1])) and set(own["model"].values) == {model}
        if layer == "conv1":
            unit = own[0, (own["channel"] == 3) & (own["channel_x"] == 5) & (own["channel_y"] == 7)]
            assert unit.item() == own.values[0].reshape(16, 23, 23)[3, 5, 7]
    assert np.isnan(own["channel_x"].values).all()
    indexed = assembly.set_index(neuroid=["neuroid_id"])  # as Brain-Score makes its assemblies
    assert indexed.sel(neuroid=f"{model}.fc4.1").shape == (4,)


@pytest.mark.parametrize(
    ("names", "ids"), [(["a/x.png", "a/y.z.png"], ["x", "y.z"]), (["a/x.png", "b/x.png"], ["a/x.png", "b/x.png"])]
)
def test_stimuli_without_ids_are_called_by_their_files(run, tmp_path, names, ids):
    """By the files' stems, or, where two have the same, by the whole names; no two have one id."""
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(0, number).save(tmp_path / name)
    (tmp_path / "list.tsv").write_text("\n".join(["stimulus_path", *names]))
    write_features(run, tmp_path / "list.tsv", tmp_path / "x.nc", "fc3")
    with xarray.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as data:
        assert data["activations"]["stimulus_id"].values.tolist() == ids


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_whose_names_the_file_has_itself(run, tmp_path, suffix):
    """No column of a list hides one of the file's, whatever it is called."""
    picture(0, 0).save(tmp_path / "a.png")
    head = "path,image,FC3,fc3,model,done,Done,a/b,a b,.,2nd,channel_x"
    (tmp_path / "list.csv").write_text(f"{head}\na.png,1,2,3,4,5,6,7,8,9,10,11\n")
    path = tmp_path / f"x{suffix}"
    write_features(run, tmp_path / "list.csv", path, "fc3")
    columns = {"image": "image", "csv_FC3": "FC3", "csv_fc3_2": "fc3", "csv_model": "model", "csv_done": "done"}
    columns |= {"csv_Done_2": "Done", "a_b": "a/b", "a_b_2": "a b", "csv_.": ".", "2nd": "2nd"}
    if suffix in (".npy", ".safetensors"):
        text = path.with_suffix(".csv").read_text() if suffix == ".npy" else path.read_bytes().decode("latin-1")
        assert ",".join(["source_row", *columns, "csv_channel_x"]) in text
    elif suffix == ".mat":
        assert {"x2nd", "csv_FC3", "csv__"} < {*scipy.io.loadmat(path)["columns"].dtype.names}
    elif suffix == ".nc":
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            assert [data["activations"][name].item() for name in columns] == list(range(1, 11))
    elif suffix == ".h5":
        with h5py.File(path) as file:
            assert [file[f"images/{name}"][0] for name in columns] == list(range(1, 11))
    else:
        frame = pl.read_parquet(path) if suffix == ".parquet" else pl.read_ipc(path)
        assert [frame[name][0] for name in columns] == list(range(1, 11))


BIG = 2**53


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([str(2**63 - 1), str(-(2**63)), "0"], "int64"),
        ([str(BIG + 1), str(BIG)], "int64"),
        ([str(2**63), "1"], "text"),
        ([str(BIG + 1), ""], "text"),
        ([str(BIG + 1), "0.5"], "text"),
        ([f"{BIG + 1}.0", "0.5"], "text"),
        ([str(BIG), ""], "float64"),
        (["1e400", "1"], "text"),
        (["1e-400", "1"], "text"),
        (["0e-400", "1"], "float64"),
        (["NaN", "-inf", "Infinity", ".5", "1.", "-2e3"], "float64"),
        (["nan", "inf"], "text"),
        (["1" * 100_000], "text"),
        (["9" * 5000, "0.5"], "text"),
        (["007", "1"], "text"),
        (["", ""], "text"),
    ],
)
def test_a_column_of_numbers_says_all_that_its_texts_say(texts, kind):
    (column,) = columns_of([("x", texts)], []).values()
    values = column.values(np.arange(len(texts)))
    assert column.kind == kind
    if kind == "text":
        assert values == texts
    elif kind == "int64":
        assert [str(value) for value in values] == texts
    else:
        np.testing.assert_array_equal(values, [float(text or "nan") for text in texts])


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".nc", ".parquet"])
def test_large_integers_stay_different(run, tmp_path, suffix):
    picture(0, 0).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"path,id\na.png,{BIG}\na.png,{BIG + 1}\n")
    path = tmp_path / f"x{suffix}"
    write_features(run, tmp_path / "list.csv", path, "fc3")
    if suffix == ".mat":
        ids = scipy.io.loadmat(path)["columns"]["id"][0, 0][:, 0]
    elif suffix == ".h5":
        with h5py.File(path) as file:
            ids = file["images/id"][:]
    elif suffix == ".nc":
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            ids = data["id"].values
    else:
        ids = pl.read_parquet(path)["id"].to_list()
    assert [int(number) for number in ids] == [BIG, BIG + 1]


def test_many_columns(run, tmp_path, monkeypatch):
    """Their number is bounded; up to there time grows with them, not with their square."""
    picture(0, 0).save(tmp_path / "a.png")
    for count in (MOST_COLUMNS, MOST_COLUMNS + 1):
        (tmp_path / "list.csv").write_text(f"path{',a' * count}\na.png{',1' * count}\n")
        if count > MOST_COLUMNS:
            with pytest.raises(UsageError, match=r"list\.csv: has 1,001 columns beside path, but at most 1,000 go"):
                write_features(run, tmp_path / "list.csv", tmp_path / "y.nc", "fc3")
            assert not (tmp_path / "y.nc").exists()
            return
        asked = []
        monkeypatch.setattr(h5py.Dataset, "shape", property(_counting(h5py.Dataset.shape.fget, asked)))
        write_features(run, tmp_path / "list.csv", tmp_path / "x.nc", "fc3")
        assert len(asked) < 100 * count
        with h5py.File(tmp_path / "x.nc") as file:
            assert f"a_{count}" in file and file["a_2"][0] == 1


def _counting(function, calls):
    def call(*arguments):
        calls.append(1)
        return function(*arguments)

    return call


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_file_again_byte_for_byte(written, suffix):
    path = written(suffix)
    files = formats.outputs(path, LAYERS)
    first = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    written(suffix)
    assert [file.read_bytes() for file in files] == first

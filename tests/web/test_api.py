"""The API: its answers are the commands', all else is refused in a line, nothing else can be reached."""

import base64
import io
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import evaluate, load, predict, web
from tests.conftest import picture
from tests.web.conftest import serving


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a secret place"
    return encoded(picture(0, 7, 90, 70), "JPEG", exif=exif)


FILES = {
    "photo.jpg": encoded(picture(0, 3, 300, 200), "JPEG"),
    "turned.jpg": turned(),
    "cmyk.jpg": encoded(picture(1, 4).convert("CMYK"), "JPEG"),
    "gray.png": encoded(picture(2, 5).convert("L"), "PNG"),
    "clear.png": encoded(picture(2, 5).convert("RGBA"), "PNG"),
    "photo.webp": encoded(picture(1, 6), "WEBP"),
    "still.gif": encoded(picture(1, 6), "GIF"),
    "scan.tif": encoded(picture(0, 8), "TIFF"),
}


@pytest.mark.parametrize("name", FILES)
def test_answers_are_those_of_predict_to_the_last_bit(name, client, run, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    for views in (1, 10) if name == "photo.jpg" else (1,):
        answer = client.json(f"/predict?views={views}&top=3", FILES[name])
        (expected,) = predict(load(run), tmp_path / name, views=views, top=3)
        assert answer["top"] == [list(pair) for pair in expected.top] and answer["classes"] == expected.classes
        assert answer["picture"] is None and answer["views"] == views


def test_the_picture_is_what_the_net_sees_and_carries_nothing_of_the_file(client, run):
    status, _, content = client("/predict?picture=true", turned())
    assert status == 200 and b"secret" not in content
    square = Image.open(io.BytesIO(base64.b64decode(json.loads(content)["picture"].partition(",")[2])))
    assert square.size == (64, 64) and not square.getexif()
    expected = load(run).preprocessing.square(Image.open(io.BytesIO(turned())))
    assert np.abs(np.asarray(square, int) - expected).mean() < 12  # JPEG of noise


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly a pixel."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99))]
    ends = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(ends)


BAD = {
    "nothing": (b"", 400),
    "text": (b"hello", 400),
    "page": (b"<html><script>alert(1)</script></html>", 400),
    "drawing": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400),
    "cut": (FILES["photo.jpg"][:900], 400),
    "cut png": (FILES["gray.png"][:300], 400),
    "tiny": (encoded(Image.new("RGB", (4, 4)), "PNG"), 400),
    "bomb": (png_header(60_000, 60_000), 413),
    "large": (png_header(5000, 4000), 413),
    "large photo": (encoded(Image.new("L", (8000, 5001)), "JPEG"), 413),
    "too many bytes": (bytes((20 << 20) + 1), 413),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_usable_image_is_refused_in_a_line(kind, client):
    content, expected = BAD[kind]
    status, headers, answer = client("/predict", content)
    assert status == expected and headers["content-type"] == "application/json"
    assert "\n" not in json.loads(answer)["detail"]
    assert client.json("/healthz")["status"] == "ok"


@pytest.mark.parametrize("query", ["views=2", "views=abc", "views=-1", "top=0", "top=1e9", "top=", "picture=maybe"])
def test_wrong_parameters_are_named(query, client):
    status, _, answer = client(f"/predict?{query}", FILES["photo.jpg"])
    assert status == 422 and json.loads(answer)["detail"].startswith(query.partition("=")[0])


PLACES = ["/../run.json", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page/../../run.json",
          "/images/..%2f1", "/static/run.json", "/docs", "/redoc", "/page.js%00.html", "/.git/config"]  # fmt: skip


def test_unknown_parameters_are_named_at_every_address(client):
    _, _, content = client("/predict?topp=3", FILES["photo.jpg"])
    said = json.loads(content)["detail"]
    assert said.startswith("topp: no parameter of this address; perhaps you meant top; give one of "), said
    assert "views" in said and "run" in said
    names = {"{layer}": "conv2", "{unit}": "0", "{row}": "0", "{place}": "0"}
    for path, methods in client.json("/openapi.json")["paths"].items():
        for name, value in names.items():
            path = path.replace(name, value)
        for method in methods:
            status, _, content = client(f"{path}?colour=red", method=method.upper(), body=b"")
            assert status == 422 and json.loads(content)["detail"].startswith("colour: "), (path, status)


@pytest.mark.parametrize("path", PLACES)
def test_nothing_of_the_disk_can_be_reached(path, client):
    assert client(path)[0] in (404, 422)


def test_only_examples_can_be_seen(client, dataset):
    facts = client.json("/run")
    examples = [example["row"] for example in facts["examples"]]
    assert [example["label"] for example in facts["examples"]] == dataset.labels[examples].tolist()
    assert 3 <= len(examples) <= 12 and set(examples) <= set(dataset.rows("val").tolist())
    assert len(set(dataset.labels[examples].tolist())) == 3  # of every class
    status, headers, content = client(f"/images/{examples[0]}")
    assert status == 200 and headers["content-type"] == "image/jpeg" and content == bytes(dataset.encoded(examples[0]))
    hidden = next(row for row in dataset.rows("train").tolist() if row not in examples)
    assert client(f"/images/{hidden}")[0] == client("/images/-1")[0] == client("/images/99999999999999999999")[0] == 404
    row = Image.open(io.BytesIO(client("/examples.jpg")[2]))
    assert row.size == (96 * len(examples), 96)


def test_other_pages_and_other_names_are_refused(client):
    photo, port = FILES["photo.jpg"], client.port
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "LOCALHOST"):
        assert client("/healthz", Host=host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "", "]["):
        assert client("/predict", photo, Host=host)[0] == 421, host
    own = f"http://127.0.0.1:{port}"
    assert client("/predict", photo, Origin=own)[0] == 200
    for origin in (
        "http://evil.example",
        "null",
        f"http://localhost:{port}",
        "http://127.0.0.1:1",
        f"{own}.evil.example",
    ):
        assert client("/predict", photo, Origin=origin)[0] == 403, origin
    for site in ("cross-site", "same-site"):
        assert client("/examples.jpg", sec_fetch_site=site)[0] == 403
    assert client("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200  # a link to the page
    assert client("/predict", method="OPTIONS")[0] == 405  # no word that another page may ask


@pytest.mark.parametrize("path", ["/", "/page.js", "/healthz", "/run", "/nowhere", "/predict"])
def test_every_answer_keeps_a_browser_strict(path, client):
    _, headers, _ = client(path)
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_with_a_token_only_those_who_show_it_are_answered(run):
    with serving(run, None, token="a secret") as asks:
        assert asks("/")[0] == asks("/healthz")[0] == 200
        for shown in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a secret"}, {"Authorization": "ü"}):
            status, headers, _ = asks("/predict", FILES["photo.jpg"], **shown)
            assert status == 401 and headers["www-authenticate"] == "Bearer", shown
        assert asks("/run")[0] == asks("/openapi.json")[0] == 401
        assert asks("/predict", FILES["photo.jpg"], Authorization="Bearer a secret")[0] == 200
        assert asks.json("/run", Authorization="Bearer a secret")["examples"] is None  # there is no dataset
        assert asks("/examples.jpg", Authorization="Bearer a secret")[0] == 404


def test_errors_are_those_of_evaluate(client, run, dataset):
    state = client.json("/errors")
    assert state["images"] == len(dataset.rows("val"))
    client.json("/errors", b"")
    while (state := client.json("/errors"))["state"] == "measuring":
        pass
    measured = evaluate(load(run), dataset)
    assert state["state"] == "done" and state["errors"]["top1_error"] == measured.errors.top1_error
    assert state["confusion"] == measured.confusion.tolist()
    wrong = measured.rows[~measured.correct]
    assert {mistake["row"] for mistake in state["mistakes"]} <= set(wrong.tolist())
    assert len(state["mistakes"]) == min(12, len(wrong))
    assert client("/mistakes.jpg")[0] == 200
    for mistake in state["mistakes"]:
        assert client(f"/images/{mistake['row']}")[0] == 200


def test_the_page_is_kept_by_browsers_and_asked_for_again(client):
    status, headers, _ = client("/page.js")
    assert status == 200 and headers["cache-control"] == "no-cache"
    status, _, nothing = client("/page.js", If_None_Match=headers["etag"])
    assert status == 304 and not nothing


def test_the_page_is_small_and_names_nothing_outside():
    folder = Path(web.__file__).parent / "page"
    files = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert set(files) == {"index.html", "page.css", "page.js"}
    assert sum(map(len, files.values())) < 150 << 10
    names = {name for text in files.values() for name in re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", text)}
    assert names == {"http://www.w3.org"}  # SVG's name, which is no address
    assert "style=" not in files["index.html"] and "onclick" not in files["index.html"]  # the policy forbids both

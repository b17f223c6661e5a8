"""The addresses of the server: the page's files, and the API that it and programs use."""

import asyncio
import hashlib
import io
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import version
from typing import Annotated, Any

import fastapi
import numpy as np
from fastapi import APIRouter, FastAPI, Path, Request, Response

from alexnet.errors import UsageError
from alexnet.files import nearest
from alexnet.inside.look import class_index
from alexnet.inside.units import layer_of, units_of
from alexnet.nets.layer_names import canonical
from alexnet.web.answers import (
    Bits,
    Code,
    Count,
    Depends,
    Exhaustive,
    Featured,
    First,
    Flip,
    Health,
    LayerCount,
    LayerImages,
    Layers,
    Made,
    MadeProgress,
    Neighbors,
    OfClass,
    OfLayer,
    OfUnit,
    Pool,
    Predicted,
    Problem,
    Progress,
    Shown,
    Top,
    UnitImages,
    Units,
    Views,
    White,
)
from alexnet.web.asking import Chosen, add_refusals, asked, check_parameters, json_answer, runs_of, while_there
from alexnet.web.batcher import Probabilities
from alexnet.web.layers import Activations, Attributions, Features, Sought, drawn, strongest
from alexnet.web.measuring import Measuring
from alexnet.web.pictures import jpeg_url
from alexnet.web.refusals import Refused
from alexnet.web.served import Served, Store
from alexnet.web.top_images import MOST_SHOWN

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of an image file: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Not a usable image."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "Requests of other pages are refused."},
    408: {"model": Problem, "description": "The image came too slowly."},
    413: {"model": Problem, "description": "Too many bytes or pixels."},
    421: {"model": Problem, "description": "The host is not this server's."},
    422: {"model": Problem, "description": "A parameter is wrong, or unknown."},
    503: {"model": Problem, "description": "Too many requests; Retry-After says when to try again."},
}
SEARCHED: dict[int | str, dict[str, Any]] = {**PROBLEMS, 404: {"model": Problem, "description": "There is no index."}}
GUARDED: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (401, 403, 421, 422)}
MISSING: dict[int | str, dict[str, Any]] = {**GUARDED, 404: {"model": Problem, "description": "It is not there."}}
PICTURES: dict[str, Any] = {"image/jpeg": {}, "image/x-portable-pixmap": {}}
MADE: dict[int | str, dict[str, Any]] = {**GUARDED, 503: PROBLEMS[503]}
router = APIRouter(dependencies=[fastapi.Depends(check_parameters)])


def app_of(runs: Mapping[str, Served]) -> FastAPI:
    """The application, not yet guarded.

    Args:
        runs: by name; the first is asked where a request says none.
    """
    app = FastAPI(
        title="AlexNet",
        version=version("alexnet"),
        description="What a run says.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.runs = dict(runs)
    add_refusals(app)
    for path, (name, kind) in PAGE.items():
        _add_file(app, path, resources.files("alexnet.web").joinpath("page", name).read_bytes(), kind)
    app.include_router(router)
    return app


def _add_file(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    """A file of the page, which browsers keep and ask for again."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def give(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    app.add_api_route(path, give, include_in_schema=False)


@router.get("/healthz", response_model=Health, responses=GUARDED)
async def healthz(request: Request) -> Response:
    """Whether the server answers; needs no token."""
    batchers = [served.batcher for served in runs_of(request).values()]
    counts = {"waiting": "held", "answered": "answered", "batches": "batches"}
    sums = {name: sum(getattr(batcher, own) for batcher in batchers) for name, own in counts.items()}
    return json_answer({"status": "ok", **sums})


@router.post("/predict", response_model=Predicted, responses=PROBLEMS, openapi_extra=IMAGE)
async def predict(request: Request, served: Chosen, top: Top = 5, views: Views = 1, picture: Shown = False) -> Response:
    """The most probable classes of an image, equal to those of `alexnet predict`.

    Images that are asked about at the same time are computed together, so their last bits may differ.
    """
    answer = await asked(request, served, Probabilities(views))
    predicted = served.classifier.prediction("image", answer.content, top)
    photo = answer.photo
    return json_answer(
        {
            "top": predicted.top,
            "classes": predicted.classes,
            "views": views,
            "width": photo.width,
            "height": photo.height,
            "milliseconds": answer.milliseconds,
            "picture": jpeg_url(photo.square) if picture else None,
        }
    )


@router.post("/maps", response_model=Layers, responses=PROBLEMS, openapi_extra=IMAGE)
async def maps(
    request: Request, served: Chosen, layer: OfLayer = None, count: Units = 1, unit: OfUnit = None, white: White = None
) -> Response:
    """Activations of layers for an image's center crop: the strongest units with their maps, or one unit's."""
    net = served.classifier.net
    if layer is not None and layer not in net.names:
        raise Refused(422, f"layer: no layer {layer}; {nearest(layer, net.names)}give one of {', '.join(net.names)}")
    if unit is not None and layer is None:
        raise Refused(422, "unit: give its layer, too")
    layers = tuple(net.names) if layer is None else (layer,)
    outputs = (await asked(request, served, Activations(layers))).content
    if unit is not None and layer is not None and unit >= len(outputs[layer]):
        raise Refused(422, f"unit: {layer} has units 0 to {len(outputs[layer]) - 1:,}")
    towers = net.table.towers if layer is None else 1
    return json_answer({"layers": [strongest(name, outputs[name], count, unit, towers, white) for name in layers]})


@router.post(
    "/features", responses={**PROBLEMS, 200: {"content": {"application/octet-stream": {}}}}, openapi_extra=IMAGE,
    response_class=Response,
)  # fmt: skip
async def features(
    request: Request, served: Chosen, layer: Featured = "fc7", views: Views = 1, pool: Pool = None
) -> Response:
    """Activations of a layer for an image as a NumPy file (.npy), (1, ...) float32: that of `alexnet features`.

    Products are float32, too, whatever the precision of the server's other answers.
    """
    try:
        (name,) = canonical(served.classifier.net.table, layer)
    except UsageError as error:
        raise Refused(422, str(error)) from error
    outputs = (await asked(request, served, Features(served.exact, (name,), views, pool))).content
    buffer = io.BytesIO()
    np.save(buffer, outputs[name][None])
    return Response(buffer.getvalue(), media_type="application/octet-stream")


@router.post("/attributions", response_model=Depends, responses=PROBLEMS, openapi_extra=IMAGE)
async def attributions(request: Request, served: Chosen, label: OfClass = None) -> Response:
    """What the score of a class depends on: gradient, SmoothGrad, Grad-CAM of the center crop."""
    try:
        index = None if label is None else class_index(served.classifier, label)
    except UsageError as error:
        raise Refused(422, str(error).removeprefix("--")) from error
    index, maps = (await asked(request, served, Attributions(index))).content
    words = served.classifier.words
    return json_answer({"name": words[index], "maps": {name: drawn(values) for name, values in maps.items()}})


@router.post("/search", response_model=Neighbors, responses=SEARCHED, openapi_extra=IMAGE)
async def search(
    request: Request, served: Chosen, count: Count = 12, exhaustive: Exhaustive = False, flip: Flip = True,
    code: Code = None, bits: Bits = 64,
) -> Response:  # fmt: skip
    """The images of the index that are most similar to an image, as `alexnet search` has them, and by binary codes."""
    similar = served.similar
    if similar is None:
        raise Refused(404, "this server has no index; start it with --index INDEX")
    activations = (await asked(request, served, Sought(similar.layer, 2 if flip else 1))).content
    if code is not None:
        return json_answer(await asyncio.to_thread(similar.search_by_code, activations, count, code, bits))
    return json_answer(await asyncio.to_thread(similar.search, activations, count, exhaustive))


@router.get("/similar/{place}", responses={**MISSING, 200: {"content": {"image/png": {}}}}, response_class=Response)
async def similar_image(served: Chosen, place: Annotated[int, Path(ge=0)]) -> Response:
    """An image of the index by its place, as the square that the net's crops are cut from."""
    similar = served.similar
    if similar is None or place >= len(similar):
        raise Refused(404, "the index has no such image")
    content = await asyncio.to_thread(similar.square, place, served.classifier.preprocessing)
    return Response(content, media_type="image/png")


@router.get("/run", responses=GUARDED)
async def run(served: Chosen) -> Response:
    """The run: net, classes, recipe, error curve, layers; and what this server has."""
    return json_answer(served.facts)


@router.get("/mean.png", responses={**GUARDED, 200: {"content": {"image/png": {}}}}, response_class=Response)
async def mean(served: Chosen) -> Response:
    """The mean image, which is subtracted from every image, rounded to 8 bits."""
    return Response(served.mean, media_type="image/png")


@router.get("/examples.jpg", responses={**MISSING, 200: {"content": {"image/jpeg": {}}}}, response_class=Response)
async def examples(served: Chosen) -> Response:
    """Images of the run's dataset, side by side, each 96 pixels wide."""
    return Response(_store(served).row, media_type="image/jpeg")


@router.get("/images/{row}", responses={**MISSING, 200: {"content": PICTURES}}, response_class=Response)
async def image(served: Chosen, row: int) -> Response:
    """An image of the dataset that the page shows: an example, a worst mistake, or one that drives a unit most."""
    store = _store(served)
    if not store.may_be_read(row):
        raise Refused(404, "no example")
    content = bytes(store.dataset.encoded(row))
    kind = "image/jpeg" if content[:2] == b"\xff\xd8" else "image/x-portable-pixmap"
    return Response(content, media_type=kind)


@router.get("/units/{layer}", response_model=LayerImages, responses=MISSING)
async def layer_images(served: Chosen, layer: str, first: First = None, count: LayerCount = MOST_SHOWN) -> Response:
    """Units of a layer, each with the image that drives it most; without `first` those of `alexnet show --layer`."""
    top = _store(served).top
    layer = _layer_of(served, layer, 0)
    return json_answer(await asyncio.to_thread(top.of_layer, layer, first, count))


@router.get("/units/{layer}/{unit}", response_model=UnitImages, responses=MISSING)
async def unit_images(served: Chosen, layer: str, unit: Annotated[int, Path(ge=0)]) -> Response:
    """The images of the run's dataset that drive a unit most; POST /units starts the search for them."""
    top = _store(served).top
    layer = _layer_of(served, layer, unit)
    return json_answer(await asyncio.to_thread(top.of, layer, unit))


@router.get("/units/{layer}/{unit}/made", response_model=Made, responses=MADE)
async def unit_made(request: Request, served: Chosen, layer: str, unit: Annotated[int, Path(ge=0)]) -> Response:
    """An image made to drive a unit, as `alexnet show RUN --unit LAYER:UNIT` has it. Other requests go first."""
    layer = _layer_of(served, layer, unit)
    return json_answer(await while_there(request, served.made.of(layer, unit)))


@router.get("/units/{layer}/{unit}/made/progress", response_model=MadeProgress, responses=GUARDED)
async def unit_progress(served: Chosen, layer: str, unit: Annotated[int, Path(ge=0)]) -> Response:
    """How far the image that was asked for with `/units/LAYER/UNIT/made` is."""
    return json_answer(served.made.progress(_layer_of(served, layer, unit), unit))


@router.post("/units", response_model=Progress, responses=MISSING)
async def look_for_units(served: Chosen) -> Response:
    """Starts the search over all images for all units, if it has not started. Other requests go first."""
    top = _store(served).top
    top.start()
    return json_answer(top.state())


@router.get("/errors", responses=MISSING)
async def errors(served: Chosen) -> Response:
    """Errors on the dataset's validation images, or how far the measurement is."""
    return json_answer(_measuring(served).state())


@router.post("/errors", responses=MISSING)
async def measure(served: Chosen) -> Response:
    """Starts the measurement of these errors, if it has not started. Other requests go first."""
    measuring = _measuring(served)
    measuring.start()
    return json_answer(measuring.state())


@router.get("/mistakes.jpg", responses={**MISSING, 200: {"content": {"image/jpeg": {}}}}, response_class=Response)
async def mistakes(served: Chosen) -> Response:
    """The images of the worst mistakes, side by side, each 96 pixels wide."""
    return Response(_measuring(served).picture(), media_type="image/jpeg")


def _layer_of(served: Served, layer: str, unit: int) -> str:
    """A layer by any of its names, as the net calls it. Raises ``Refused`` where the net has no such unit."""
    try:
        layer = layer_of(served.classifier, layer, "layer")
    except UsageError as error:
        raise Refused(422, str(error)) from error
    if unit >= (count := units_of(served.classifier, layer)):
        raise Refused(422, f"unit: {layer} has units 0 to {count - 1:,}")
    return layer


def _store(served: Served) -> Store:
    store = served.store
    if store is None:
        raise Refused(404, "the dataset that the run was trained on is not there")
    return store


def _measuring(served: Served) -> Measuring:
    measuring = _store(served).measuring
    if measuring is None:
        raise Refused(404, "the run's dataset has no validation images")
    return measuring

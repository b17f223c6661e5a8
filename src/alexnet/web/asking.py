"""From a request with an image to an answer of the net, and to an answer in HTTP; a client that left costs nothing."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from alexnet import files
from alexnet.files import nearest
from alexnet.web.answers import OfRun
from alexnet.web.batcher import Full, Question
from alexnet.web.refusals import Gone, Refused
from alexnet.web.served import Served
from alexnet.web.uploads import Photo

T = TypeVar("T")


class Answer(NamedTuple):
    """What the net says of an image.

    Attributes:
        photo: the image.
        content: the answer to the question.
        milliseconds: what the time went to.
    """

    photo: Photo
    content: Any
    milliseconds: dict[str, float]


def runs_of(request: Request) -> dict[str, Served]:
    """The runs that are served, by name; the first is asked where no name is said."""
    return request.app.state.runs


async def _chosen(request: Request, run: OfRun = None) -> Served:
    """The run that is asked. Raises ``Refused`` where there is none of that name."""
    runs = runs_of(request)
    name = next(iter(runs)) if run is None else run
    if name not in runs:
        raise Refused(422, f"run: no run {name}; {nearest(name, list(runs))}give one of {', '.join(runs)}")
    return runs[name]


async def check_parameters(request: Request) -> None:
    """Raises ``Refused`` where a request has a parameter that its address does not know."""
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [field["name"] for field in operation.get("parameters", []) if field["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            there = f"give one of {', '.join(known)}" if known else "this address has none"
            raise Refused(422, f"{files.shown(name)}: no parameter of this address; {nearest(name, known)}{there}")


Chosen = Annotated[Served, Depends(_chosen)]


async def asked(request: Request, served: Served, question: Question) -> Answer:
    """Reads a request's image and asks the net.

    Raises:
        Full: too much waits for the net; looked at before the image is read, and again when it is there.
        Refused: it is no image, or none that is taken.
        Gone: the client left.
    """
    served.batcher.check_room(question.views)
    begun = time.perf_counter()
    content = await served.uploads.read(request)
    received = time.perf_counter()

    async def work() -> Answer:
        photo = await served.uploads.photo(content)
        decoded = time.perf_counter()
        answer = await served.batcher.answer(question, photo.square)
        times = {
            "receiving": received - begun,
            "decoding": decoded - received,
            "net": time.perf_counter() - decoded,
        }
        return Answer(photo, answer, {name: round(1e3 * seconds, 2) for name, seconds in times.items()})

    with served.batcher.room(question.views):
        return await while_there(request, work())


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; it is canceled where the client leaves. Raises ``Gone`` then."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        leaving.cancel()
        task.cancel()


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that strict readers take."""
    return Response(files.to_json(content, indent=None), status, headers, "application/json")


def add_refusals(app: FastAPI) -> None:
    """Makes one line of JSON of whatever keeps a request from its answer."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        again = {} if error.retry is None else {"retry-after": str(error.retry)}
        return json_answer({"detail": error.reason}, error.status, again)

    @app.exception_handler(Full)
    async def full(request: Request, error: Full) -> Response:
        seconds = max(1, int(error.args[0]))
        detail = f"the net has too much to do; try again in {seconds} s"
        return json_answer({"detail": detail}, 503, {"retry-after": str(seconds)})

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Gone) -> Response:
        return Response(status_code=499)  # as nginx notes it; nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return json_answer({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

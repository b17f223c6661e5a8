"""Images made to drive units: those of the command, and nobody waits for them."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from alexnet import load
from alexnet.inside import synthesis
from alexnet.inside.synthesis import driven_part, driving_images, responses_to
from alexnet.web import made_images
from alexnet.web.batcher import Batcher, Probabilities
from alexnet.web.made_images import MadeImages
from alexnet.web.refusals import Refused
from tests.web.test_layers import unpacked


@pytest.mark.parametrize(("layer", "unit"), [("conv2", 3), ("fc4", 1)])
def test_an_image_is_that_of_the_command(client, run, layer, unit):
    answered = client.json("/healthz")["answered"]
    answer = client.json(f"/units/{layer}/{unit}/made")
    classifier = load(run)
    expected = driving_images(classifier, layer, [unit])
    assert answer["response"] == pytest.approx(float(responses_to(classifier, layer, [unit], expected)[0]), rel=1e-5)
    picture = np.asarray(Image.open(io.BytesIO(unpacked(answer["picture"]))))
    assert answer["side"] == len(picture) and np.array_equal(picture, driven_part(classifier, layer, expected[0]))
    assert client.json("/healthz")["answered"] == answered + 1  # the response; steps are no answers
    assert client.json(f"/units/{layer}/{unit}/made") == answer
    assert client.json("/healthz")["answered"] == answered + 1


def test_whoever_asks_the_net_waits_for_a_step_at_most(run, monkeypatch):
    """As many answers between the steps as are asked for; the same image comes of it."""
    square = np.full((64, 64, 3), 90, np.uint8)
    alone: list[int] = []

    async def asked(busy: bool) -> dict:
        with Batcher(load(run)) as batcher:
            made = asyncio.ensure_future(MadeImages(batcher).of("conv2", 3))
            while busy and not made.done():
                await batcher.answer(Probabilities(), square)
                alone.append(1)
            return await made

    assert asyncio.run(asked(True)) == asyncio.run(asked(False))
    assert len(alone) > synthesis.STEPS / 2


def test_an_image_that_nobody_waits_for_any_more_is_not_made(run):
    async def left() -> tuple[int, int]:
        with Batcher(load(run)) as batcher:
            made = MadeImages(batcher)
            task = asyncio.ensure_future(made.of("conv2", 3))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await made.of("conv2", 4))["unit"], batcher.answered

    assert asyncio.run(left()) == (4, 1)


def test_a_step_of_an_image_that_nobody_wants_any_more_holds_nobody_up(run):
    making = made_images._Making(load(run), "conv2", 3)
    with making:
        making.step()
    making._thread.join(30)
    assert not making._thread.is_alive() and making.crop is None
    making.step()


def test_more_than_a_few_are_refused(run, monkeypatch):
    monkeypatch.setattr(made_images, "MOST_WAITING", 2)

    async def several() -> list:
        with Batcher(load(run)) as batcher:
            made = MadeImages(batcher)
            return await asyncio.gather(*(made.of("conv2", unit) for unit in range(3)), return_exceptions=True)

    first, second, third = asyncio.run(several())
    assert (first["unit"], second["unit"]) == (0, 1) and isinstance(third, Refused) and third.status == 503


def test_what_goes_wrong_in_a_step_is_said(run, monkeypatch):
    def failing(*asked, between):
        between()
        raise ValueError("no step")

    monkeypatch.setattr(made_images, "driving_images", failing)

    async def made() -> None:
        with Batcher(load(run)) as batcher:
            await MadeImages(batcher).of("conv2", 3)

    with pytest.raises(ValueError, match="no step"):
        asyncio.run(made())

"""Images that are made to drive a unit, one at a time, a step whenever nobody else asks the net; kept in memory."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from alexnet.evaluation.classifier import Classifier
from alexnet.inside.synthesis import STEPS, driven_part, driving_images, framed
from alexnet.nets.fusion import BEFORE
from alexnet.web.batcher import Batcher
from alexnet.web.layers import Activations
from alexnet.web.pictures import png, url_of
from alexnet.web.refusals import Refused

KEPT = 64  # images that stay in memory, those that were asked for last
MOST_WAITING = 4  # requests for one that is not there yet


class MadeImages:
    """Makes images in the time of the thread that owns the net.

    Args:
        batcher: what answers; each step of gradient ascent is a question behind all others.
    """

    def __init__(self, batcher: Batcher):
        self._batcher, self._lock, self._waiting = batcher, asyncio.Lock(), 0
        self._kept: OrderedDict[tuple[str, int], dict[str, Any]] = OrderedDict()
        self._now, self._step = ("", 0), 0  # the unit whose image is being made, and how far it is

    async def of(self, layer: str, unit: int) -> dict[str, Any]:
        """The image as JSON, with the unit's response to it, as ``alexnet show --unit`` has it.

        Args:
            layer, unit: that there are.

        Raises:
            Refused: too many wait for one.
        """
        if (layer, unit) not in self._kept:
            if self._waiting >= MOST_WAITING:
                raise Refused(503, "other images are being made for units; try again in 5 s", retry=5)
            self._waiting += 1
            try:
                async with self._lock:
                    if (layer, unit) not in self._kept:
                        self._kept[layer, unit] = await self._made(layer, unit)
            finally:
                self._waiting -= 1
        self._kept.move_to_end((layer, unit))
        answer = self._kept[layer, unit]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return answer

    def progress(self, layer: str, unit: int) -> dict[str, int]:
        """Steps that are done of the image for a unit, and all steps, as JSON."""
        done = STEPS if (layer, unit) in self._kept else self._step if self._now == (layer, unit) else 0
        return {"step": done, "steps": STEPS}

    async def _made(self, layer: str, unit: int) -> dict[str, Any]:
        self._now, self._step = (layer, unit), 0
        with _Making(self._batcher.classifier, layer, unit) as making:
            while making.crop is None:
                await self._behind(_Step(making), making.nothing)
                self._step = min(STEPS, self._step + 1)
        before, classifier = layer + BEFORE, self._batcher.classifier
        crop = torch.from_numpy(making.crop)
        part, square = driven_part(classifier, layer, crop), framed(crop[None], classifier.preprocessing)[0].numpy()
        response = (await self._behind(Activations((before,)), square))[before]
        return {
            "layer": layer,
            "unit": unit,
            "steps": STEPS,
            "response": float(response[unit].max()),
            "side": len(part),
            "picture": url_of(png(part), "png"),
        }

    async def _behind(self, question: Any, square: np.ndarray) -> Any:
        return await asyncio.wrap_future(self._batcher.ask(question, square, behind=True))


class _Making:
    """Gradient ascent in a thread of its own, which computes only while ``step`` waits for it. Ends with its block.

    Attributes:
        crop: (crop, crop, 3) uint8, the image, when it is done.
    """

    nothing = np.zeros((1, 1, 3), np.uint8)

    def __init__(self, classifier: Classifier, layer: str, unit: int):
        self.crop: np.ndarray | None = None
        self._asked, self._closed, self._problem = (classifier, layer, [unit]), False, None
        self._go, self._stepped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="made", daemon=True)

    def __enter__(self) -> "_Making":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed = True
        self._go.release()

    def step(self) -> None:
        """Lets the thread compute one step, unless nobody wants the image any more. Raises what it raised."""
        if self._closed:
            return
        self._go.release()
        self._stepped.acquire()
        if self._problem:
            raise self._problem

    def _between(self) -> None:
        self._stepped.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._closed:
            raise _Closed

    def _run(self) -> None:
        try:
            self._wait()
            self.crop = driving_images(*self._asked, between=self._between)[0].numpy()
        except _Closed:
            pass
        except Exception as error:
            self._problem = error
        finally:
            self._stepped.release()  # whoever waits for a step that does not come


class _Closed(Exception):
    """Nobody wants the image any more."""


class _Step(NamedTuple):
    """One step of gradient ascent; whatever image comes with it is not looked at."""

    making: _Making
    views: int = 0

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """Nothing; the image is the making's."""
        self.making.step()
        return [None] * len(squares)

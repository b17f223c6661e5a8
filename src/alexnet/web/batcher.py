"""The one thread that owns the net: what waits for it is answered together, and no more waits than it can answer."""

import asyncio
import collections
import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np

from alexnet.evaluation.classifier import Classifier

MOST_VIEWS = 64  # that wait or are being answered; more are refused
WINDOW = 0.005  # seconds that a batch waits for images that are being decoded


class Question(Protocol):
    """What is asked of the net for an image; equal ones are answered together, so it is hashable."""

    @property
    def views(self) -> int:
        """How many views of an image the net sees for it: its cost. 0: it is no answer to an image, and not counted."""
        ...

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """The answers for (size, size, 3) uint8 squares, in their order."""
        ...


class Probabilities(NamedTuple):
    """Soft-max outputs, (classes,) float32 on the CPU for each image."""

    views: int = 1

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """As ``Classifier.square_probabilities``."""
        return list(classifier.square_probabilities(squares, self.views))


class Full(Exception):
    """The net has too much to do; the message is the number of seconds after which it is worth another try."""


class Job(NamedTuple):
    """One image, what is asked of it, and who waits for the answer."""

    question: Question
    square: np.ndarray
    future: "Future[Any]"


class Batcher:
    """Answers questions on a thread of its own, several at once where several wait. Closes with its block.

    While the net computes, others come, and are its next batch. Before a batch it waits for those that are let in and
    not decoded yet, for ``WINDOW`` at most: whoever is alone waits for nothing. Work ``behind`` the others' has its
    turn when nobody waits.

    Args:
        classifier: used by this thread alone from now on.
        turn: held while it computes, where another batcher shares the processors: one computes at a time.

    Attributes:
        held: views of requests that were let in and are not answered yet.
        answered, batches: images and batches so far.
    """

    def __init__(self, classifier: Classifier, turn: "threading.Lock | None" = None):
        self.classifier, self._turn = classifier, turn or threading.Lock()
        self.held = self.answered = self.batches = 0
        self._rate = 50.0  # views a second, as measured last
        self._waiting: collections.deque[Job] = collections.deque()
        self._behind: collections.deque[Job] = collections.deque()
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="net", daemon=True)

    def __enter__(self) -> "Batcher":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def check_room(self, views: int) -> None:
        """Raises ``Full`` where a question of so many views would be refused now. From the event loop alone."""
        if self.held + views > MOST_VIEWS:
            raise Full(math.ceil(self.held / self._rate))

    @contextlib.contextmanager
    def room(self, views: int) -> Iterator[None]:
        """Room for a question, from before its image is decoded until it is answered. From the event loop alone.

        Raises:
            Full: there is none.
        """
        self.check_room(views)
        self.held += views
        try:
            yield
        finally:
            self.held -= views

    def ask(self, question: Question, square: np.ndarray, behind: bool = False) -> "Future[Any]":
        """The answer, when it is there; a future that is canceled before its turn costs nothing.

        Args:
            question: what is asked.
            square: (size, size, 3) uint8.
            behind: after all others.
        """
        job = Job(question, square, Future())
        with self._change:
            if self._closed:
                job.future.cancel()
            (self._behind if behind else self._waiting).append(job)
            self._change.notify()
        return job.future

    async def answer(self, question: Question, square: np.ndarray) -> Any:
        """As ``ask``, for the event loop."""
        return await asyncio.wrap_future(self.ask(question, square))

    def _run(self) -> None:
        while jobs := self._next():
            question = jobs[0].question
            try:
                with self._turn:
                    begun = time.perf_counter()
                    answers = question(self.classifier, [job.square for job in jobs])
            except Exception as error:
                for job in jobs:
                    job.future.set_exception(error)
                continue
            if question.views:
                self._rate = max(1.0, len(jobs) * question.views / max(1e-6, time.perf_counter() - begun))
                self.answered, self.batches = self.answered + len(jobs), self.batches + 1
            for job, answer in zip(jobs, answers, strict=True):
                job.future.set_result(answer)

    def _all_here(self) -> bool:
        """Whether nobody who was let in is still on the way; the others' answers were given."""
        return self._closed or not self._waiting or sum(job.question.views for job in self._waiting) >= self.held

    def _next(self) -> list[Job]:
        """The jobs to be done next, all of one question; waits until there are some. None: it is closed."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._behind or self._closed)
                if self._closed:
                    for job in (*self._waiting, *self._behind):
                        job.future.cancel()
                    return []
                self._change.wait_for(self._all_here, WINDOW)
                taken = _together(self._waiting or self._behind)
            jobs = [job for job in taken if job.future.set_running_or_notify_cancel()]
            if jobs:
                return jobs


def _together(waiting: "collections.deque[Job]") -> list[Job]:
    """Takes the first job, and those that ask the same, as far as they make a batch."""
    question = waiting[0].question
    most = max(1, MOST_VIEWS // max(1, question.views))
    taken = [job for job in waiting if job.question == question][:most]
    rest = [job for job in waiting if all(job is not other for other in taken)]
    waiting.clear()
    waiting.extend(rest)
    return taken

"""What changes nothing of what a training learns, checked when it is made: how it loads, keeps, logs, is heard."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from alexnet import machine
from alexnet.data.batches import Batch
from alexnet.errors import check_number, check_threads
from alexnet.training.journal import StepReport
from alexnet.training.loggers import check_loggers
from alexnet.training.parallel.names import LayoutName, check_layout
from alexnet.training.step import Loss, Transform

TINY = 48  # pixels: such an image is decoded in less time than threads take to hand Python's lock over


@dataclasses.dataclass(frozen=True)
class Options:
    """What changes nothing of what is learned, but for the caller's own functions; see ``train``.

    Raises:
        UsageError: a value that is invalid, named by its option.
    """

    workers: int | None = None
    keep_every: int | None = None
    keep: Literal["log"] | None = None
    log: Sequence[str] = ()
    transform: Transform | None = None
    loss: Loss | None = None
    batches: Callable[[int], Batch] | None = None
    on_step: Callable[[StepReport], object] | None = None
    parallel: LayoutName = "auto"

    def __post_init__(self) -> None:
        check_threads("--workers", self.workers)
        check_loggers(self.log)
        check_layout(self.parallel)
        if self.keep_every is not None:
            check_number("--keep-every", self.keep_every, 1)

    def decoders(self, size: int) -> int:
        """Threads that decode images of a size: as asked for; or 2 to 8 by the machine's cores, 1 for tiny ones."""
        return self.workers or (1 if size <= TINY else max(2, min(8, machine.cores())))

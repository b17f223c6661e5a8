"""Calls that may never come back, waited for no longer than one will."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T], name: str) -> T:
    """What a call gives, or raises. One that does not come back is left to itself, in a thread that nobody waits for.

    Args:
        seconds: to wait.
        act: the call.
        name: of its thread.

    Raises:
        TimeoutError: it did not come back.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            results.append(act())
        except BaseException as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=work, name=name, daemon=True).start()
    if not ended.wait(seconds):
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if errors:
        raise errors[0]
    return results[0]

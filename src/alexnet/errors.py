"""What a user meets when a command does not end as it should. Everything else that escapes is a defect of ours."""

import numbers
import re

PASSWORD = re.compile(r"(?<=://)[^/\s@]*@")
QUERY = re.compile(r"\?[^\s?'\";,]*(signature|token|secret|password|credential|key|sig)[^\s'\";,)]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A text whose URLs have no password and no signature any more."""
    if "://" not in text:
        return text
    return QUERY.sub("", PASSWORD.sub("", text))


class AlexNetError(Exception):
    """Something went wrong that the user's command did not cause: exit status 1. All errors of the package are one.

    Its message says no password and no signature of a URL.
    """

    def __init__(self, *words: object):
        super().__init__(*(without_secrets(word) if isinstance(word, str) else word for word in words))


class UsageError(AlexNetError, ValueError):
    """A wrong command, option, argument or input: exit status 2."""


class Interrupted(AlexNetError):
    """Stopped by a signal after saving; the same command goes on: exit status 130."""


class Elsewhere(AlexNetError):
    """Another rank of the job says what was wrong; this one ends with the same exit status and no line.

    Attributes:
        status: of both.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Unfinished(AlexNetError):
    """A part of the work is done as asked, the whole is not: exit status 0."""


def check_number(option: str, value: object, low: int, high: int | None = None) -> None:
    """Raises ``UsageError`` naming the option whose value is no whole number from ``low`` to ``high``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise UsageError(f"{option} {value!r}: must be a whole number")
    if int(value) < low or (high is not None and int(value) > high):
        limits = f"at least {low:,}" if high is None else f"between {low:,} and {high:,}"
        raise UsageError(f"{option} {value}: must be {limits}")


MOST_THREADS = 1024


def check_threads(option: str, value: int | None) -> None:
    """Raises ``UsageError`` for a number of threads that cannot be meant; None is as many as the machine has."""
    if value is not None:
        check_number(option, value, 1, MOST_THREADS)

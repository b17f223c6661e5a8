"""Why a request gets no answer."""


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        reason: a line for people.
        retry: seconds after which it is worth another try, or None.
    """

    def __init__(self, status: int, reason: str, retry: int | None = None):
        super().__init__(reason)
        self.status, self.reason, self.retry = status, reason, retry


class Gone(Exception):
    """The client went away: nobody reads an answer."""

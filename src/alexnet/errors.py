"""The two kinds of error a user meets. Everything else that escapes is a defect of ours."""


class Failure(Exception):
    """Something went wrong that the user's command did not cause: exit status 1."""


class WrongUse(Exception):
    """The command, an option or an input cannot be meant: exit status 2."""

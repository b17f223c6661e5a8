"""What a user meets when a command does not end as it should. Everything else that escapes is a defect of ours."""


class Failure(Exception):
    """Something went wrong that the user's command did not cause: exit status 1."""


class WrongUse(Exception):
    """The command, an option or an input cannot be meant: exit status 2."""


class Interrupted(Exception):
    """Stopped by a signal after saving; the same command goes on: exit status 130."""


class Unfinished(Exception):
    """A part of the work is done as asked, the whole is not: exit status 0."""

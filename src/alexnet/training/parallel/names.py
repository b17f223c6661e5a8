"""The names of the layouts; options and help do without what they are."""

from typing import Literal, get_args

from alexnet.errors import UsageError
from alexnet.files import nearest

LayoutName = Literal["auto", "data", "towers", "hybrid", "hybrid-turns", "hybrid-mixed", "sharded"]
LAYOUTS = get_args(LayoutName)


def check_layout(name: str) -> None:
    """Raises ``UsageError`` where there is no layout of that name."""
    if name not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise UsageError(f"--parallel {name}: no such layout; {nearest(str(name), LAYOUTS)}give one of {known}")

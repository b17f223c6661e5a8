"""Figures as people read them: tables, intervals, shapes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from alexnet import files
from alexnet.progress import Screen


def table_of(*columns: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        justify = "right" if i in right else "left"
        table.add_column(Text(files.shown(column)), justify=justify, overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Adds a row: names are text, not markup."""
    table.add_row(*(Text(files.shown(cell)) for cell in cells))


def print_table(table: Table, spare: Sequence[str] = ()) -> None:
    """A table as wide as the terminal, or as it needs; without blanks at the ends of lines.

    Args:
        table: the table.
        spare: headers of columns that are left out on a narrow terminal, the first one first.
    """
    screen = Screen()
    if screen.is_terminal:
        for header in spare:
            if Measurement.get(screen, screen.options.update(max_width=1 << 16), table).maximum <= screen.width:
                break
            table = _without(table, header)
        screen.print(table)
        return
    lines = io.StringIO()
    Screen(width=1 << 16, file=lines).print(table)
    for line in lines.getvalue().split("\n")[:-1]:
        print(line.rstrip())


def _without(table: Table, header: str) -> Table:
    """A table with a column less."""
    columns = [column for column in table.columns if str(column.header) != header]
    narrower = table_of()
    for column in columns:
        narrower.add_column(column.header, justify=column.justify, overflow=column.overflow)
    for cells in zip(*(column.cells for column in columns)):
        narrower.add_row(*cells)
    return narrower


def print_listing(what: str, lines: Mapping[str, str]) -> int:
    """Names, each with a line on it. Returns 0, the exit status."""
    table = table_of(what, "")
    for name, line in lines.items():
        add_row(table, name, line)
    print_table(table)
    return 0


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def amount_text(key: str, value: int) -> str:
    return f"{value / 2**20:.2f} MiB" if key == "memory" else f"{value:,}"


def amounts_text(row: Any) -> list[str]:
    return [amount_text(key, getattr(row, key)) for key in ("parameters", "multiply_adds", "memory")]


def interval_text(interval: Sequence[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def views_text(views: int) -> str:
    return "one view" if views == 1 else f"{views} views"


def error_text(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2%} (95% interval {interval_text(interval)})"

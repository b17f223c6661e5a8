"""Commands that say what comes along: summary."""

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, amount_text, amounts_text, print_table, shape_text, table_of
from alexnet.errors import check_number


@dataclasses.dataclass(frozen=True)
class Summary:
    """Prints the layer table of a net: kernels, output shapes, parameters, multiply-adds, memory."""

    net: Positional[Annotated[str, arg(metavar="NET")]] = "paper"
    """Name of a net, or path of a .toml table."""

    classes: int = 1000
    """Units of the last layer."""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet.nets.costs import costs
        from alexnet.nets.table_file import load_table

        check_number("--classes", self.classes, 1, 10**9)
        table = load_table(self.net)
        rows = costs(table, self.classes)
        totals = {key: sum(getattr(row, key) for row in rows) for key in ("parameters", "multiply_adds", "memory")}
        if self.json:
            layers = [dataclasses.asdict(row) for row in rows]
            return print_json({"net": table.name, "input": table.input, "layers": layers, "total": totals})
        shown = table_of("layer", "kind", "kernel", "output", "parameters", "multiply-adds", "memory", right=(4, 5, 6))
        for row in rows:
            add_row(shown, row.name, row.kind.replace("_", " "), row.kernel, shape_text(row.output), *amounts_text(row))
        shown.add_section()
        add_row(shown, "total", "", "", "", *(amount_text(key, value) for key, value in totals.items()))
        say(f"{table.name}: {table.title}; input {shape_text(table.input)}, {table.towers} towers")
        print_table(shown)
        say("Multiply-adds and memory (outputs in float32) are for one image, forward.")
        return 0

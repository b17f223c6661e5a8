"""Commands that say what is included: nets, recipes, and the layers of a net."""

import dataclasses
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet.cli.help import about
from alexnet.cli.options import Json
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, amount_text, amounts_text, print_listing, print_table, shape_text, table_of
from alexnet.errors import check_number
from alexnet.progress import plural


@dataclasses.dataclass(frozen=True)
class Summary(Json):
    """Print the layer table of a net: kernels, shapes, receptive fields, parameters, multiply-adds, memory."""

    net: Positional[Annotated[str, arg(metavar="NET")]] = "paper"
    """Name of a net (see `alexnet nets`), path of a .toml table, or a run."""

    classes: int | None = None
    """Number of classes: units of the last layer (default: 1000, or the run's)."""

    def __call__(self) -> int:
        from alexnet.nets.costs import costs
        from alexnet.runs.run import table_at

        table, own = table_at(self.net)
        classes = own or 1000 if self.classes is None else self.classes
        check_number("--classes", classes, 1, 10**9)
        rows = costs(table, classes)
        totals = {key: sum(getattr(row, key) for row in rows) for key in ("parameters", "multiply_adds", "memory")}
        if self.json:
            layers = [dataclasses.asdict(row) for row in rows]
            return print_json({"net": table.name, "input": table.input, "layers": layers, "total": totals})
        columns = ("layer", "kind", "kernel", "output", "field", "parameters", "multiply-adds", "memory")
        shown = table_of(*columns, right=range(4, 8))
        for row in rows:
            kind, field = row.kind.replace("_", " "), _field_text(row.receptive_field)
            add_row(shown, row.name, kind, row.kernel, shape_text(row.output), field, *amounts_text(row))
        shown.add_section()
        add_row(shown, "total", "", "", "", "", *(amount_text(key, value) for key, value in totals.items()))
        say(f"{table.name}: {table.title}; input {shape_text(table.input)}, {plural(table.towers, 'tower')}")
        print_table(shown, spare=("memory", "field", "multiply-adds", "kind", "output"))
        say("Field: side of a unit's receptive field in pixels; `all`: the whole image.")
        say("Multiply-adds and memory (outputs in float32) are for one image, forward.")
        return 0


def _field_text(field: Any) -> str:
    return "all" if field is None else f"{field.size:,}"


@dataclasses.dataclass(frozen=True)
class Nets(Json):
    """List the nets that are included."""

    def __call__(self) -> int:
        from alexnet.nets.table_file import load_table, tables

        titles = {name: load_table(name).title for name in tables()}
        if self.json:
            return print_json(titles)
        print_listing("net", titles)
        say("alexnet summary NET prints its layers; alexnet train --net NET trains it.")
        return 0


@dataclasses.dataclass(frozen=True)
class Recipes(Json):
    """List the recipes that are included."""

    def __call__(self) -> int:
        from alexnet.training import recipes

        if self.json:
            return print_json({name: dataclasses.asdict(recipe) for name, recipe in recipes.RECIPES.items()})
        lines = {name: about(getattr(recipes, name.replace("-", "_"))).splitlines()[0] for name in recipes.RECIPES}
        print_listing("recipe", lines)
        say("alexnet train --recipe RECIPE --help shows what it sets.")
        return 0

"""What tests of pictures share: names that are hard to draw, and where a figure's texts come to lie."""

import warnings

from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

ODD = [
    "$x_{1}$ $",
    "猫 🐈\nnewline",
    "a name that is long, and its second synonym " * 3,
    "$^$",
    "x" * 250,
    "",
    "é_{",
    "%",
]


def check_inside(figure: Figure) -> None:
    """Draws without a warning; every text that is drawn lies within the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    renderer = canvas.get_renderer()
    width, height = figure.bbox.size
    of_ticks = {text for tick in figure.findobj(Tick) for text in (tick.label1, tick.label2)}
    texts = [text for text in figure.findobj(Text) if text not in of_ticks] + _tick_labels(figure)
    texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
    assert texts
    for text in texts:
        box = text.get_window_extent(renderer)
        if box.width:
            inside = box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
            assert inside, (text.get_text(), box)


def _tick_labels(figure: Figure) -> list[Text]:
    """Those at ticks within their axis; the others have a place, but are not drawn."""
    labels = []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return labels

"""Commands that search by picture: index, search."""

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from alexnet.cli.options import File, OfCheckpoint, OnDevice, Working, check_outputs
from alexnet.cli.streams import print_json, say, say_written, warn
from alexnet.cli.tables import add_row, print_table, table_of
from alexnet.errors import AlexNetError, UsageError, check_number, check_threads
from alexnet.files import mistakes
from alexnet.progress import Display, plural, size_text

if TYPE_CHECKING:
    import numpy as np

    from alexnet.search.answers import Answer
    from alexnet.search.bits import Compared
    from alexnet.search.index import Index as OpenIndex
    from alexnet.search.make import Made


@dataclasses.dataclass(frozen=True)
class Index(OfCheckpoint, OnDevice, Working):
    """Make an index of images to search by picture. Given again, it computes only what is new."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run whose activations are compared."""

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """Folder or archive of images, an image, or a dataset."""

    index: Positional[Annotated[str, arg(metavar="INDEX")]]
    """Folder of the index, made or changed. Images that are gone from SOURCE leave it; those of other sources stay."""

    layer: Annotated[str | None, arg(metavar="LAYER")] = None
    """Layer whose activations are compared (default: the index's; of a new one fc7, as in the paper's section 6.1, or
    the last hidden layer)."""

    remove: bool = False
    """Take the images at SOURCE out of the index. They need not be there any more. They stay out, whatever folder
    around them is given later, until SOURCE itself is given again."""

    workers: int = 2
    """Threads that decode images."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation.classifier import load
        from alexnet.search.library import faiss
        from alexnet.search.make import make_index, source_of

        check_threads("--workers", self.workers)
        wanted = [] if self.remove else [("images or dataset", source_of(self.index, self.source))]
        mistakes.check_order("index", ("run", self.run), *wanted, ("new index", self.index))
        faiss()
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device))
        display = Display(unit="images")
        with contextlib.closing(display):
            made = make_index(
                run, self.source, self.index, layer=self.layer, remove=self.remove, workers=self.workers, note=warn,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            print_json(dataclasses.asdict(made))
        else:
            self._say(made)
        if made.unreadable:
            raise AlexNetError(f"{plural(made.unreadable, 'image')} could not be read, see above; the others are in "
                               f"{self.index}")  # fmt: skip
        return 0

    def _say(self, made: "Made") -> None:
        counts = {"computed": made.computed, "unchanged": made.kept - made.moved, "moved": made.moved,
                  "removed": made.removed}  # fmt: skip
        news = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        part = f" of {self.source}" if not self.remove and made.computed + made.kept < made.images else ""
        say(f"{self.index}: {plural(made.images, 'image')} ({news}{part}), {size_text(made.bytes)}")
        if made.kind == "exact":
            say("search is exact: recall 100%")
        else:
            say(f"search is approximate: recall of the ten nearest {made.recall:.1%}, measured on "
                f"{plural(made.recall_images, 'image')} of the index")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Search(OnDevice, Working):
    """Find the images of an index that are most similar to a picture (paper 6.1)."""

    index: Positional[Annotated[str, arg(metavar="INDEX")]]
    """Index, as `alexnet index` made it."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Image files, or folders or archives of images, to find similar ones to."""

    count: int = 10
    """Number of similar images."""

    run: Annotated[str | None, arg(metavar="RUN")] = None
    """The run that the index was made with, if it is elsewhere now (default: where it was)."""

    exhaustive: bool = False
    """Look at every image where the index is approximate: slower, nothing is missed."""

    unflipped: bool = False
    """Search for each picture as it is, by the paper's one distance. Without it each is searched for flipped, too,
    and an image's distance is the lesser one."""

    picture: File | None = None
    """PNG file to draw the pictures and the similar images to (default: none)."""

    compare_codes: File | None = None
    """Instead of searching, compare binary codes of the index's images: four kinds, 32 to 512 bits. PNG file to draw
    the comparison to (default: none)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.search.answers import answers
        from alexnet.search.index import MOST

        if self.compare_codes:
            return self._compare_codes(self.compare_codes)
        if not self.images:
            raise UsageError(f"alexnet search {self.index}: give images or folders")
        check_number("--count", self.count, 1, MOST)
        if self.picture and not self.picture.lower().endswith(".png"):
            raise UsageError(f"--picture {self.picture}: is written as PNG; give a name that ends in .png")
        mistakes.check_order("search", ("index", self.index), *(("images", path) for path in self.images))
        check_outputs({"--picture": self.picture}, [self.index, *self.images])
        machine.set_up()
        answered = answers(
            self.index, self.images, run=self.run, count=self.count, exhaustive=self.exhaustive,
            flip=not self.unflipped, device=machine.choose_device(self.device), note=warn,
        )  # fmt: skip
        good = [answer for answer in answered.answers if not answer.problem]
        bad = [answer for answer in answered.answers if answer.problem]
        for answer in bad:
            warn(f"{answer.image}: {answer.problem}")
        if self.json:
            print_json([dataclasses.asdict(answer) for answer in good])
        elif good:
            for answer in good:
                _print(answer, answered.index.content["typical"])
            say(answered.index.words)
        if self.picture and good:
            self._draw(answered.index, good, answered.squares)
        if bad:
            raise AlexNetError(f"{len(bad):,} of {plural(len(answered.answers), 'image')} could not be read, see above")
        return 0

    def _compare_codes(self, picture: str) -> int:
        from alexnet import machine
        from alexnet.figures.codes import codes
        from alexnet.figures.style import save
        from alexnet.search.bits import compare_codes

        if self.images or self.picture:
            raise UsageError("--compare-codes: takes images of the index, and no others; leave IMAGE and --picture out")
        check_outputs({"--compare-codes": picture}, [self.index])
        if not picture.lower().endswith(".png"):
            raise UsageError(f"--compare-codes {picture}: is written as PNG; give a name that ends in .png")
        machine.set_up()
        display = Display(unit="codes")
        with contextlib.closing(display):
            compared = compare_codes(self.index, progress=display.counter("comparing"))
        if self.json:
            print_json(dataclasses.asdict(compared))
        else:
            _print_codes(compared)
        sys.stdout.flush()  # the picture is written after what was said
        save(codes(compared), picture)
        say_written([picture], self.json)
        return 0

    def _draw(self, index: "OpenIndex", answers: Sequence["Answer"], squares: Sequence["np.ndarray"]) -> None:
        from alexnet.figures.neighbors import Drawn, neighbors
        from alexnet.figures.style import save_image
        from alexnet.search.answers import pictures_of

        assert self.picture
        similar = []
        for answer, _ in zip(answers, squares):
            pictures = pictures_of(index.names, [neighbor.place for neighbor in answer.neighbors])
            similar.append(
                [
                    Drawn(picture, neighbor.distance, neighbor.relative, neighbor.label, neighbor.image)
                    for picture, neighbor in zip(pictures, answer.neighbors)
                ]
            )
        shown = f"the first {len(squares):,} of {len(answers):,} pictures" if len(answers) > len(squares) else ""
        title = f"{self.index}: {shown or plural(len(answers), 'picture')}, and the images that are most similar"
        note = f"{index.words}; bar of full length: the median"
        named = [(answer.image, square) for answer, square in zip(answers, squares)]
        sys.stdout.flush()  # the picture is written after what was said
        save_image(neighbors(named, similar, title, note), self.picture)
        say_written([self.picture], self.json)


def _print(answer: "Answer", median: float) -> None:
    shown = table_of(answer.image, "distance", "÷ median", "label", right=(1, 2))
    for neighbor in answer.neighbors:
        relative = f"{neighbor.relative:.2f}" if median else ""
        add_row(shown, neighbor.image, f"{neighbor.distance:.2f}", relative, neighbor.label)
    print_table(shown)
    say("")


def _print_codes(compared: "Compared") -> None:
    from alexnet.search.codes import BITS, BY_COMPONENTS, WORDS

    columns = ("code", "bits", "bytes", "recall@10", "ranked@10", "recall@100", "ranked@100", "mAP", "ranked mAP",
               "distinct", "ms")  # fmt: skip
    shown = table_of(*columns, right=range(1, 11))
    for worth in compared.worths:
        recalls = (worth.recall10, worth.ranked10, worth.recall100, worth.ranked100)
        precisions = (worth.map, worth.ranked_map)
        cells = [*(f"{share:.1%}" for share in recalls), *("" if one is None else f"{one:.3f}" for one in precisions)]
        bits = f"{worth.bits:,}" if worth.bits else ""
        milliseconds = f"{worth.milliseconds:.2f}" if worth.bits else ""
        kind = WORDS.get(worth.kind, "exact distance")
        add_row(shown, kind, bits, f"{worth.bytes:,}", *cells, f"{worth.distinct:,}", milliseconds)
    print_table(shown)
    say(
        f"{plural(compared.images, 'image')}, {compared.queries:,} others searched for; ranked: the {compared.ranked} "
        "nearest codes, by exact distance; mAP: by label"
    )
    if compared.images < 10 * compared.ranked:
        say(f"the {compared.ranked} nearest codes are a large part of so few images: the ranked columns say little")
    if compared.components < max(BITS):
        kinds = " and ".join(WORDS[kind] for kind in BY_COMPONENTS)
        say(f"{kinds} give each principal component a bit: these images have {compared.components:,}, so longer codes "
            "are left out")  # fmt: skip

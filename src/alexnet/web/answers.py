"""The forms of the API's answers, as the OpenAPI has them."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from alexnet.search import codes
from alexnet.web.layers import MOST_UNITS
from alexnet.web.top_images import MOST_SHOWN


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="A line for people.")


class Health(BaseModel):
    """That the server answers, and how busy it is."""

    status: Literal["ok"]
    waiting: int = Field(description="Views that wait or are being computed.")
    answered: int = Field(description="Images answered so far.")
    batches: int = Field(description="Batches so far.")


class Milliseconds(BaseModel):
    """What the time went to."""

    receiving: float
    decoding: float
    net: float = Field(description="Waiting for the net, and its work.")


class Predicted(BaseModel):
    """What the net says of an image; ``top`` and ``classes`` are as `alexnet predict --json` has them."""

    top: list[tuple[str, float]] = Field(description="Classes with their probabilities, most probable first.")
    classes: list[str] = Field(description="The same classes as the dataset names them.")
    views: Literal[1, 9, 10]
    width: int = Field(description="Of the file, pixels.")
    height: int
    milliseconds: Milliseconds
    picture: str | None = Field(description="The square that the crops are cut from, a data: URL, if asked for.")


class Unit(BaseModel):
    """A unit of a layer."""

    unit: int
    value: float = Field(description="The highest value in its map.")
    row: int | None = Field(default=None, description="Where in the map that is.")
    column: int | None = None


class Layer(BaseModel):
    """What a layer makes of an image."""

    layer: str
    units: int = Field(description="Maps of the layer, or units without maps.")
    active: int = Field(description="Of them, those with a value above 0.")
    highest: float = Field(description="The highest value of the layer.")
    strongest: list[Unit]
    rows: int
    columns: int
    picture: str = Field(
        description="Their maps side by side, a data: URL: a pixel per value, 0 to the highest, or to `white`."
    )


class Layers(BaseModel):
    """What layers make of an image."""

    layers: list[Layer]


class Neighbor(BaseModel):
    """An image of the index, as `alexnet search --json` has it."""

    image: str
    label: str
    distance: float = Field(description="Euclidean, in the layer's activations; 0 is the same picture.")
    relative: float = Field(description="The same as a share of the median distance of two images of the index.")
    place: int
    there: bool = Field(description="Whether the image is still where it was.")


class CodeNeighbor(BaseModel):
    """An image of the index whose binary code is near."""

    image: str
    label: str
    place: int
    differing: int = Field(description="Bits in which the two codes differ.")
    there: bool


class Coded(BaseModel):
    """The same by binary codes alone."""

    kind: codes.Kind
    bits: int
    compared: int = Field(description="Nearest images that are compared.")
    overlap: int = Field(description="Of the so many exact nearest, those that are among as many nearest codes.")
    within: int = Field(description="Images whose codes are as near as the last of these, or nearer: many are equal.")
    neighbors: list[CodeNeighbor]
    picture: str


class Neighbors(BaseModel):
    """The images that are most similar, nearest first."""

    layer: str
    words: str = Field(description="What the distances mean.")
    neighbors: list[Neighbor]
    picture: str = Field(description="The images side by side, a data: URL, each 96 pixels wide.")
    coded: Coded | None = Field(default=None, description="If a code is asked for.")


class Strong(BaseModel):
    """An image that drives a unit."""

    model_config = ConfigDict(populate_by_name=True)
    row: int = Field(description="For /images/ROW.")
    name: str
    label: int
    of: str = Field(alias="class")
    value: float = Field(description="The unit's largest response, before its activation function.")
    place: tuple[int, int] = Field(description="Row and column of its map where that is.")


class Progress(BaseModel):
    """How far a pass over the dataset is."""

    state: str = Field(description="`not measured`, `measuring`, `done`, or why it failed.")
    split: str
    images: int = Field(description="Of the split.")
    done: int = Field(description="Of these.")


class UnitImages(Progress):
    """The images of the run's dataset that drive a unit most, strongest first; or how far the search for them is."""

    layer: str
    unit: int
    active: float | None = Field(default=None, description="Share of the images on which its response is above 0.")
    side: int | None = Field(default=None, description="Pixels of the image that a tile shows: what the unit sees.")
    means: list[tuple[str, float | None]] = Field(
        default=[], description="Of each class, the mean response to its images; null where there are none."
    )
    strongest: list[Strong] = []
    picture: str | None = Field(default=None, description="What the unit sees of them, side by side, a data: URL.")


class LayerUnit(BaseModel):
    """A unit with what drives it most."""

    unit: int
    row: int = Field(description="The image, for /images/ROW.")
    name: str
    value: float = Field(description="The unit's largest response, before its activation function.")


class LayerImages(Progress):
    """Units of a layer, each with the image that drives it most; or how far the search is."""

    layer: str
    units: int = Field(description="Of the layer.")
    shown: list[LayerUnit] = []
    picture: str | None = Field(default=None, description="What they see of the images, side by side, a data: URL.")


class Made(BaseModel):
    """An image that was made to drive a unit."""

    layer: str
    unit: int
    steps: int = Field(description="Of gradient ascent.")
    response: float = Field(description="The unit's largest response to it, before its activation function.")
    side: int = Field(description="Pixels of the picture.")
    picture: str = Field(description="What the unit sees of the image, a data: URL.")


class MadeProgress(BaseModel):
    """How far the image for a unit is."""

    step: int = Field(description="Steps done; 0 while it waits for its turn, or was not asked for.")
    steps: int


class Depends(BaseModel):
    """What the score of a class depends on: maps as data: URLs."""

    name: str = Field(description="The class.")
    maps: dict[str, str] = Field(description="By how far the numbers are from 0, by the method's name.")


def _number(text: object) -> object:
    """A query's number; what is none is left for the message that says which there are."""
    return int(text) if isinstance(text, str) and text.isdecimal() else text


Top = Annotated[int, Field(ge=1, le=1000, description="Number of classes.")]
Views = Annotated[
    Literal[1, 9, 10], BeforeValidator(_number), Field(description="Crops that are averaged (paper 4.1).")
]
Units = Annotated[
    int, Field(ge=1, le=MOST_UNITS, description="How many of the strongest units; for all layers, of each tower.")
]
OfLayer = Annotated[str | None, Field(max_length=200, description="A layer; all layers, if not given.")]
Featured = Annotated[
    str, Field(max_length=200, description="A layer by any of its names; `conv5:before` is before its activation.")
]
Pool = Annotated[Literal["mean", "max"] | None, Field(description="Pooling over the positions of maps.")]
Count = Annotated[int, Field(ge=1, le=48, description="Number of images.")]
Exhaustive = Annotated[bool, Field(description="Search every image, if the index is approximate.")]
Flip = Annotated[bool, Field(description="Search for the flipped image, too; the nearer of the two counts.")]
OfClass = Annotated[
    str | None,
    Query(alias="class", max_length=1000, description="A class by its name; the most probable, if not given."),
]
OfUnit = Annotated[int | None, Field(ge=0, description="This unit of the layer, instead of the strongest.")]
White = Annotated[
    float | None,
    Field(ge=0, allow_inf_nan=False, description="The value that is white; the layer's highest, if not given."),
]
First = Annotated[
    int | None, Field(ge=0, description="Units from this one on, in order; at even distances, if not given.")
]
LayerCount = Annotated[int, Field(ge=1, le=MOST_SHOWN, description="Number of units, at most.")]
OfRun = Annotated[
    str | None, Field(max_length=1000, description="The run to ask, if the server has two; the first, if not given.")
]
Code = Annotated[
    codes.Kind | None, Field(description="Also search by binary codes of this kind; `GET /run` says which.")
]
Bits = Annotated[codes.Bits, BeforeValidator(_number), Field(description="Bits of the code.")]
Shown = Annotated[bool, Field(description="Also return the square that the crops are cut from.")]

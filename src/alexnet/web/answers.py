"""The forms of the API's answers, as the OpenAPI has them."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="A line for people.")


class Health(BaseModel):
    """That the server answers, and how busy it is."""

    status: Literal["ok"]
    waiting: int = Field(description="Views that wait or are being computed.")
    answered: int = Field(description="Images answered so far.")
    batches: int = Field(description="In so many batches.")


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
    picture: str | None = Field(description="The square that the crops are from, as a data: URL, where asked for.")


def _number(text: object) -> object:
    """A query's number; what is none is left for the message that says which there are."""
    return int(text) if isinstance(text, str) and text.isdecimal() else text


Top = Annotated[int, Field(ge=1, le=1000, description="Number of classes.")]
Views = Annotated[
    Literal[1, 9, 10], BeforeValidator(_number), Field(description="Crops that are averaged (paper 4.1).")
]
Shown = Annotated[bool, Field(description="Also send the square that the crops are from.")]

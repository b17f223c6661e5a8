"""The geometry of windows: the one place that knows how large what a convolution or a pooling makes is."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Window:
    """A square window that moves over maps.

    Attributes:
        size: of the window, pixels.
        stride: pixels between neighboring windows.
        padding: zeros around the maps.
        round_up: whether a last window that hangs over the far edge counts (2012 source), or is left out.
    """

    size: int
    stride: int = 1
    padding: int = 0
    round_up: bool = False

    def overhang(self, length: int) -> int:
        """By how many pixels the last window hangs over the far edge.

        224 pixels in windows of 11 at stride 4, rounded up, make 55, and the last hangs over by 3; 227 fit exactly.
        """
        if not self.round_up:
            return 0
        return max(0, -(length + 2 * self.padding - self.size) % self.stride)

    def outputs(self, length: int) -> int:
        """How many windows ``length`` pixels give; less than 1 where the window is larger than they are."""
        return 1 + (length + 2 * self.padding + self.overhang(length) - self.size) // self.stride

    def spans(self, count: int) -> list[slice]:
        """For each pixel of a window's side, where it lies in the padded maps in all ``count`` windows."""
        reach = self.stride * (count - 1) + 1
        return [slice(first, first + reach, self.stride) for first in range(self.size)]

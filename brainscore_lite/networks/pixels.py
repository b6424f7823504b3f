"""The image itself as a model: the control that every network must beat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from brainscore_lite.networks.model import Step, check_layers
from brainscore_lite.stimuli import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Respond with the pixels, between 0 and 1; the only layer is "pixels".

    Parameters
    ----------
    image_size : int
        Height and width in pixels to which images are resized.
    channels : {"RGB", "L"}
        Colour or luminance.
    field_degrees : float, optional
        Visual field, in degrees of visual angle.
    name : str
    """

    image_size: int = 32
    channels: Literal["RGB", "L"] = "RGB"
    field_degrees: float | None = None
    name: str = "pixels"

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The one layer, "pixels"."""
        return ("pixels",)

    @property
    def n_steps(self) -> int:
        """One step."""
        return 1

    @property
    def preprocessing(self) -> Preprocessing:
        """Resizing alone."""
        n = 1 if self.channels == "L" else 3
        return Preprocessing(
            size=self.image_size, mean=(0.0,) * n, std=(1.0,) * n, channels=self.channels
        )

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the images as they are (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        yield Step(0, dict.fromkeys(chosen, images))

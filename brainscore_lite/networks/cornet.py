"""CORnet-Z, -RT, -R and -S: four areas of the ventral stream, with recurrence within each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.networks.connections import IMAGE
from brainscore_lite.networks.convnet import IMAGENET_MEAN, IMAGENET_STD
from brainscore_lite.networks.cornet_areas import BottleneckArea, LateralArea, PooledArea, stem
from brainscore_lite.networks.drawing import drawn
from brainscore_lite.networks.model import READOUT, Step, check_layers, device_of
from brainscore_lite.networks.stepping import check_images, in_evaluation
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

AREAS = ("V1", "V2", "V4", "IT")
CHANNELS = (64, 128, 256, 512)
IMAGENET_EYE = Preprocessing(size=224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@dataclass(frozen=True, kw_only=True)
class CORnetZ:
    """Settings of CORnet-Z, the feedforward member of the family (2,071,656 parameters).

    Each area is convolution -> ReLU -> 3 x 3 max pooling with stride 2; kernels 7 (stride 2), 3, 3,
    3; the readout is linear on the mean over places. One step.

    Parameters
    ----------
    n_classes : int
    channels : tuple of int
        Of V1, V2, V4 and IT.
    preprocessing : Preprocessing
        How an image becomes the input; its size and number of channels are free.
    field_degrees : float, optional
        Visual field that the input spans, in degrees of visual angle.
    name : str

    Raises
    ------
    ContractError
        If there are not four positive numbers of channels, or no classes.

    References
    ----------
    Kubilius et al. (2018), doi:10.1101/408385. Re-implemented from its description; the published
    repository (dicarlolab/CORnet) is GPL-3.
    """

    n_classes: int = 1000
    channels: tuple[int, ...] = CHANNELS
    preprocessing: Preprocessing = IMAGENET_EYE
    field_degrees: float | None = None
    name: str = "cornet_z"

    def __post_init__(self) -> None:
        _check(self)

    def build(self, generator: torch.Generator) -> "CORnetNetwork":
        """Build the network, its weights drawn from N(0, 2 / fan_in), its biases 0."""
        return drawn(lambda: CORnetNetwork(self), generator)


@dataclass(frozen=True, kw_only=True)
class CORnetR:
    """Settings of CORnet-R and CORnet-RT, with lateral recurrence (5,208,936 parameters each).

    With x_t what reaches an area and s_t its state, s = 0 before the first,

        i_t = ReLU(GN(W_in * x_t + b)),  s_t = ReLU(GN(W * (i_t + s_{t-1}))),

    where GN is group normalisation in 32 groups; W_in is 7 x 7 with stride 4 in V1, 3 x 3 with
    stride 2 above. The readout is linear on the mean of IT over places, at every step.

    *engineering* unrolling is CORnet-R: within a step each area answers the one below it, so the
    image reaches IT at step 0. *biological* unrolling is CORnet-RT: each area answers what the one
    below it did a step before, so V1 is reached at step 0, V2 at 1, V4 at 2, IT and the readout at
    3. Before that an area is absent. In the published code it is not: there zeros are sent through
    its biases and normalisation, so that an area which nothing has reached holds an activity that
    is the same for every image, and its first answer to the image starts from it.

    Parameters
    ----------
    unroll : {"engineering", "biological"}
    n_steps : int
        At least 4 where unrolling is biological.
    n_classes, channels, preprocessing, field_degrees, name
        As of :class:`CORnetZ`.

    Raises
    ------
    ContractError
        As :class:`CORnetZ`, or if the image cannot reach the readout in `n_steps`.

    References
    ----------
    Kubilius et al. (2018), doi:10.1101/408385.
    """

    unroll: Literal["engineering", "biological"] = "engineering"
    n_steps: int = 5
    n_classes: int = 1000
    channels: tuple[int, ...] = CHANNELS
    preprocessing: Preprocessing = IMAGENET_EYE
    field_degrees: float | None = None
    name: str = "cornet_r"

    def __post_init__(self) -> None:
        _check(self)
        if self.unroll not in ("engineering", "biological"):
            raise ContractError(
                f"Network '{self.name}' has unroll='{self.unroll}', which is unknown. Use "
                "'engineering' (CORnet-R) or 'biological' (CORnet-RT)."
            )
        fewest = len(AREAS) if self.unroll == "biological" else 1
        if self.n_steps < fewest:
            raise ContractError(
                f"Network '{self.name}' runs {self.n_steps} steps, but with {self.unroll} "
                f"unrolling the image reaches the readout after {fewest}. Set n_steps to at least "
                f"{fewest}."
            )

    def build(self, generator: torch.Generator) -> "CORnetNetwork":
        """Build the network, its weights drawn from N(0, 2 / fan_in), its biases 0."""
        return drawn(lambda: CORnetNetwork(self), generator)


@dataclass(frozen=True, kw_only=True)
class CORnetS:
    """Settings of CORnet-S, whose areas repeat themselves in turn (53,416,616 parameters).

    V1 is two convolutions. Each area above starts from y_0 = W_in * x and repeats, r = 1, 2, ...,

        y_r = ReLU(BN_r(W_3 * ReLU(BN_r(W_2 * ReLU(BN_r(W_1 * y_{r-1}))))) + skip_r),

    with kernels of 1, 3 and 1 and four times the channels inside. All repetitions share the
    weights, each has its own normalisations. The first has stride 2 in W_2 and
    skip_1 = BN(W_skip * y_0), also of stride 2; later ones have skip_r = y_{r-1}.

    There is no time across areas: an area is given the *last* repetition of the one below it. A
    step is therefore one repetition in the order in which they are computed: V1 at step 0, V2 at 1
    and 2, V4 at 3 to 6, IT and the readout at 7 and 8 (see `first_step`). An area is absent before
    its first step and keeps its last state after its last, so the last step holds the final state
    of every area. These steps are an order, not a time: a map to neural time must give each area
    its own start and step.

    Parameters
    ----------
    repetitions : tuple of int
        Of V2, V4 and IT.
    n_classes, channels, preprocessing, field_degrees, name
        As of :class:`CORnetZ`.

    Raises
    ------
    ContractError
        As :class:`CORnetZ`, or if there are not three positive numbers of repetitions.

    References
    ----------
    Kubilius et al. (2019), arXiv:1909.06161.
    """

    repetitions: tuple[int, ...] = (2, 4, 2)
    n_classes: int = 1000
    channels: tuple[int, ...] = CHANNELS
    preprocessing: Preprocessing = IMAGENET_EYE
    field_degrees: float | None = None
    name: str = "cornet_s"

    def __post_init__(self) -> None:
        _check(self)
        if len(self.repetitions) != len(AREAS) - 1 or min(self.repetitions) < 1:
            raise ContractError(
                f"Network '{self.name}' has repetitions={self.repetitions}; expected three "
                "positive numbers, for V2, V4 and IT."
            )

    @property
    def n_steps(self) -> int:
        """One step for V1, and one for each repetition above it."""
        return 1 + sum(self.repetitions)

    @property
    def first_step(self) -> dict[str, int]:
        """Step of an area's first repetition, by area."""
        starts = [0, *(1 + sum(self.repetitions[:i]) for i in range(len(self.repetitions)))]
        return dict(zip(AREAS, starts, strict=True))

    def build(self, generator: torch.Generator) -> "CORnetNetwork":
        """Build the network, its weights drawn from N(0, 2 / fan_in), its biases 0."""
        return drawn(lambda: CORnetNetwork(self), generator)


class CORnetNetwork(nn.Module):
    """A CORnet as a `Model` with the layers "V1", "V2", "V4", "IT" and "readout".

    Built by :meth:`CORnetZ.build`, :meth:`CORnetR.build` and :meth:`CORnetS.build`.

    Parameters
    ----------
    settings : CORnetZ, CORnetR or CORnetS
    """

    layer_names = (*AREAS, READOUT)

    def __init__(self, settings: CORnetZ | CORnetR | CORnetS) -> None:
        super().__init__()
        self.settings = settings
        self.name = settings.name
        self.preprocessing = settings.preprocessing
        self.field_degrees = settings.field_degrees
        ends = list(pairwise((settings.preprocessing.n_channels, *settings.channels)))
        areas: list[nn.Module]
        if isinstance(settings, CORnetZ):
            kernels = (7, 3, 3, 3)
            areas = [PooledArea(*end, kernel=k) for end, k in zip(ends, kernels, strict=True)]
        elif isinstance(settings, CORnetR):
            sizes = ((7, 4), (3, 2), (3, 2), (3, 2))
            areas = [LateralArea(*end, size) for end, size in zip(ends, sizes, strict=True)]
        else:
            repeated = zip(ends[1:], settings.repetitions, strict=True)
            areas = [stem(*ends[0])]
            areas += [BottleneckArea(*end, repetitions=count) for end, count in repeated]
        self.areas = nn.ModuleDict(dict(zip(AREAS, areas, strict=True)))
        self.readout = nn.Linear(settings.channels[-1], settings.n_classes)

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.preprocessing.size

    @property
    def n_steps(self) -> int:
        """Steps that `respond` yields."""
        return 1 if isinstance(self.settings, CORnetZ) else self.settings.n_steps

    def run(self, images: Tensor) -> Iterator[dict[str, Tensor]]:
        """Yield the activations by layer, step after step.

        Parameters
        ----------
        images : Tensor, shape (batch, 3, image_size, image_size)

        Yields
        ------
        dict of str to Tensor
            Areas (batch, channels, rows, columns) and readout (batch, n_classes) that a signal has
            reached.
        """
        check_images(images, self.preprocessing, model=self.name)
        if isinstance(self.settings, CORnetS):
            steps = self._repeating(images)
        elif isinstance(self.settings, CORnetR):
            steps = self._lateral(images, waiting=self.settings.unroll == "biological")
        else:
            steps = self._feedforward(images)
        for maps in steps:
            read = {READOUT: self.readout(maps["IT"].mean((2, 3)))} if "IT" in maps else {}
            yield {**maps, **read}

    def forward(self, images: Tensor) -> Tensor:
        """Return the readout at the last step, shape (batch, n_classes)."""
        for activations in self.run(images):
            last = activations
        return last[READOUT]

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of the named layers, in evaluation mode (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        return in_evaluation(self, self.run(images.to(device_of(self))), chosen)

    def _feedforward(self, maps: Tensor) -> Iterator[dict[str, Tensor]]:
        found = {}
        for name, area in self.areas.items():
            found[name] = maps = area(maps)
        yield found

    def _lateral(self, images: Tensor, *, waiting: bool) -> Iterator[dict[str, Tensor]]:
        before: dict[str, Tensor] = {}
        for _ in range(self.n_steps):
            now: dict[str, Tensor] = {}
            for below, name in pairwise((IMAGE, *AREAS)):
                sources = {IMAGE: images, **(before if waiting else now)}
                if below in sources:
                    now[name] = self.areas[name](sources[below], before.get(name))
            yield now
            before = now

    def _repeating(self, images: Tensor) -> Iterator[dict[str, Tensor]]:
        found = {"V1": self.areas["V1"](images)}
        yield found
        for below, name in pairwise(AREAS):
            for state in cast(BottleneckArea, self.areas[name]).states(found[below]):
                found = {**found, name: state}
                yield found


def _check(settings: CORnetZ | CORnetR | CORnetS) -> None:
    if len(settings.channels) != len(AREAS) or min(settings.channels) < 1:
        raise ContractError(
            f"Network '{settings.name}' has channels={settings.channels}; expected four positive "
            "numbers, for V1, V2, V4 and IT."
        )
    if settings.n_classes < 1:
        raise ContractError(
            f"Network '{settings.name}' has n_classes={settings.n_classes}; it must be at least 1."
        )


CORNET_Z = CORnetZ()
CORNET_R = CORnetR()
CORNET_RT = CORnetR(unroll="biological", name="cornet_rt")
CORNET_S = CORnetS()

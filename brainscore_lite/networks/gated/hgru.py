"""The horizontal gated recurrent unit: long-range lateral connections within one layer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainscore_lite.networks.drawing import drawn
from brainscore_lite.networks.model import READOUT, Step, check_layers, device_of
from brainscore_lite.networks.stepping import check_images, in_evaluation
from brainscore_lite.schema import ContractError
from brainscore_lite.stimuli import Preprocessing

GABOR = "gabor"
HORIZONTAL = "horizontal"
#: What can be lesioned: gain and offset of the inhibition, product and sum of the excitation.
LESIONS = ("alpha", "mu", "omega", "kappa")
GABOR_KERNEL = 7
GABOR_WAVELENGTH = 4.0  # pixels
GABOR_WIDTH = 1.5  # standard deviation of the envelope, in pixels


@dataclass(frozen=True, kw_only=True)
class HorizontalGRU:
    """Settings of the horizontal gated recurrent unit (hGRU).

    With x the squared answers of 7 x 7 filters to the image and h_0 = 0, at every step t

        g_1 = sigma(U_1 h_{t-1} + b_1),  c_1 = W * (g_1 h_{t-1}),
        i = tanh(x - (alpha h_{t-1} + mu) c_1)                         inhibition, then
        g_2 = sigma(U_2 i + b_2),  c_2 = gamma (W * i),
        e = tanh(kappa (i + c_2) + omega i c_2)                        excitation, and
        h_t = eta_t (g_2 h_{t-1} + (1 - g_2) e).

    W is the same in both stages and symmetric between channels, W_{jk} = W_{kj} at every offset,
    and so has about half the weights of a convolution; U_1 and U_2 mix the channels of a place;
    Greek letters are one number per channel, eta_t one per step. b_2 starts at log u with u uniform
    between 1 and n_steps - 1, and b_1 at -b_2 (chronos), so that channels begin with different time
    constants. The filters start as Gabors (even and odd at each orientation, and one blob) and are
    trained.

    The readout of each step is BN -> 1 x 1 convolution to n_classes -> maximum over places -> BN ->
    linear; all steps share it. The first normalisation has no gain or offset, which the
    convolution and the second one make redundant. The defaults come to 75,868 parameters.

    Parameters
    ----------
    n_classes : int
    n_orientations : int
        The layer has 2 n_orientations + 1 channels.
    kernel : int
        Side of W in pixels; odd.
    n_steps : int
    lesions : tuple of {"alpha", "mu", "omega", "kappa"}
        Parameters that are left out (0), so a network trained with them never had them. The lesion
        of a trained network is the lesioned settings' network with its weights
        (``load_state_dict(..., strict=False)``).
    preprocessing : Preprocessing
        How an image becomes the input; its size is free.
    field_degrees : float, optional
        Visual field that the input spans, in degrees of visual angle.
    name : str

    Raises
    ------
    ContractError
        If a number is out of range or a lesion unknown, or omega and kappa are both lesioned.

    References
    ----------
    Linsley, Kim, Veerabadran, Windolf & Serre (2018), arXiv:1805.08315 (chronos:
    Tallec & Ollivier (2018), arXiv:1804.11188). The published repository (serre-lab/hgru_share)
    states no licence; this is written from the equations. It starts h at random, here it is 0; its
    filters are in a file, here they are made.
    """

    n_classes: int = 2
    n_orientations: int = 12
    kernel: int = 15
    n_steps: int = 8
    lesions: tuple[str, ...] = ()
    preprocessing: Preprocessing = Preprocessing(size=150, mean=(0.0,), std=(1.0,), channels="L")
    field_degrees: float | None = None
    name: str = "hgru"

    def __post_init__(self) -> None:
        for what, fewest in (("n_classes", 1), ("n_orientations", 1), ("n_steps", 2)):
            if getattr(self, what) < fewest:
                raise ContractError(
                    f"Network '{self.name}' has {what}={getattr(self, what)}; it must be at least "
                    f"{fewest}."
                )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ContractError(
                f"Network '{self.name}' has kernel={self.kernel}; expected an odd number of pixels."
            )
        unknown = [lesion for lesion in self.lesions if lesion not in LESIONS]
        if unknown:
            raise ContractError(
                f"Network '{self.name}' has no parameter '{unknown[0]}' to lesion. Choose among: "
                f"{', '.join(LESIONS)}."
            )
        if {"omega", "kappa"} <= set(self.lesions):
            raise ContractError(
                f"Network '{self.name}' lesions omega and kappa, so nothing would excite its "
                "units: they would stay at 0. Lesion one of them."
            )

    @property
    def n_channels(self) -> int:
        """Channels of the filters and of the layer."""
        return 2 * self.n_orientations + 1

    def build(self, generator: torch.Generator) -> "HorizontalGRUNetwork":
        """Build the network, its weights drawn from N(0, 1 / fan_in), eta uniformly from 0 to 1.

        Greek letters are drawn from N(0, 2 / (1 + n_channels)).
        """
        network = drawn(lambda: HorizontalGRUNetwork(self), generator, gain=1.0)
        with torch.no_grad():
            network.layer.draw(generator)
            network.gabor.weight.copy_(
                gabor_filters(self.n_orientations).expand_as(network.gabor.weight)
            )
        return network


HORIZONTAL_GRU = HorizontalGRU()


class HorizontalGRUNetwork(nn.Module):
    """The hGRU as a `Model` with the layers "gabor", "horizontal" and "readout".

    "gabor" is x, the same at every step; "horizontal" is h_t. Built by :meth:`HorizontalGRU.build`.

    Parameters
    ----------
    settings : HorizontalGRU
    """

    layer_names = (GABOR, HORIZONTAL, READOUT)

    def __init__(self, settings: HorizontalGRU) -> None:
        super().__init__()
        self.settings = settings
        self.name = settings.name
        self.n_steps = settings.n_steps
        self.preprocessing = settings.preprocessing
        self.field_degrees = settings.field_degrees
        channels, n_classes = settings.n_channels, settings.n_classes
        self.gabor = nn.Conv2d(
            settings.preprocessing.n_channels, channels, GABOR_KERNEL, padding=GABOR_KERNEL // 2
        )
        self.layer = HorizontalLayer(settings)
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.evidence = nn.Conv2d(channels, n_classes, 1, bias=False)
        self.evidence_norm = nn.BatchNorm1d(n_classes)
        self.readout = nn.Linear(n_classes, n_classes)

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""
        return self.preprocessing.size

    def run(self, images: Tensor) -> Iterator[dict[str, Tensor]]:
        """Yield the activations by layer, step after step.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, image_size, image_size)

        Yields
        ------
        dict of str to Tensor
            "gabor" and "horizontal": (batch, n_channels, image_size, image_size); "readout":
            (batch, n_classes).
        """
        for drive, state in self._states(images):
            yield {GABOR: drive, HORIZONTAL: state, READOUT: self._read(state)}

    def forward(self, images: Tensor) -> Tensor:
        """Return the readout at the last step, shape (batch, n_classes)."""
        for _, state in self._states(images):
            last = state
        return self._read(last)

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations of the named layers, in evaluation mode (see `Model`)."""
        chosen = check_layers(layers, self.layer_names, model=self.name)
        return in_evaluation(self, self.run(images.to(device_of(self))), chosen)

    def _states(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        check_images(images, self.preprocessing, model=self.name)
        drive = self.gabor(images).square()
        state = torch.zeros_like(drive)
        for step in range(self.n_steps):
            state = self.layer(drive, state, step=step)
            yield drive, state

    def _read(self, state: Tensor) -> Tensor:
        evidence = self.evidence(self.norm(state)).amax((2, 3))
        return self.readout(self.evidence_norm(evidence))


class HorizontalLayer(nn.Module):
    """The recurrent layer of the hGRU (see :class:`HorizontalGRU`).

    Parameters
    ----------
    settings : HorizontalGRU
    """

    pairs: Tensor

    def __init__(self, settings: HorizontalGRU) -> None:
        super().__init__()
        channels, kernel = settings.n_channels, settings.kernel
        self.n_steps = settings.n_steps
        self.inhibits = not {"alpha", "mu"} <= set(settings.lesions)
        self.register_buffer("pairs", _pairs(channels), persistent=False)
        n_pairs = channels * (channels + 1) // 2
        self.horizontal = nn.Parameter(torch.zeros(n_pairs, kernel, kernel))
        if self.inhibits:
            self.gain_gate = nn.Conv2d(channels, channels, 1, bias=False)
            self.gain_bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mixing_gate = nn.Conv2d(channels, channels, 1, bias=False)
        self.mixing_bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        kept = [greek for greek in LESIONS if greek not in settings.lesions]
        letters = {greek: nn.Parameter(torch.zeros(channels, 1, 1)) for greek in kept}
        self.letters = nn.ParameterDict(letters)
        self.eta = nn.Parameter(torch.ones(settings.n_steps))

    @property
    def kernel(self) -> Tensor:
        """W, shape (channels, channels, kernel, kernel), symmetric between channels."""
        return self.horizontal[self.pairs]

    def draw(self, generator: torch.Generator) -> None:
        """Draw W, the biases of the gates, the Greek letters and eta.

        Parameters
        ----------
        generator : torch.Generator
        """
        channels, kernel = len(self.gamma), self.horizontal.shape[-1]
        spread = 1 / math.sqrt(channels * kernel**2)
        self.horizontal.normal_(0.0, spread, generator=generator)
        uniform = torch.rand((channels, 1, 1), generator=generator)
        chronos = torch.log(1 + uniform * (self.n_steps - 2))
        self.mixing_bias.copy_(chronos)
        if self.inhibits:
            self.gain_bias.copy_(-chronos)
        drawn_letters = torch.randn((1 + len(LESIONS), channels, 1, 1), generator=generator)
        drawn_letters *= math.sqrt(2 / (1 + channels))
        self.gamma.copy_(drawn_letters[-1])
        for greek, letter in zip(LESIONS, drawn_letters[:-1], strict=True):
            if greek in self.letters:  # lesions leave the other draws as they are
                self.letters[greek].copy_(letter)
        self.eta.uniform_(0.0, 1.0, generator=generator)

    def forward(self, drive: Tensor, state: Tensor, *, step: int) -> Tensor:
        """Return h one step later.

        Parameters
        ----------
        drive, state : Tensor, shape (batch, channels, rows, columns)
            x and h_{t-1}.
        step : int
            Which eta applies.

        Returns
        -------
        Tensor, shape (batch, channels, rows, columns)
        """
        kernel = self.kernel
        half = kernel.shape[-1] // 2
        inhibited = drive
        if self.inhibits:
            gain = torch.sigmoid(self.gain_gate(state) + self.gain_bias)
            around = functional.conv2d(gain * state, kernel, padding=half)
            inhibited = drive - (self._letter("alpha") * state + self._letter("mu")) * around
        inhibited = torch.tanh(inhibited)
        mixing = torch.sigmoid(self.mixing_gate(inhibited) + self.mixing_bias)
        around = self.gamma * functional.conv2d(inhibited, kernel, padding=half)
        added = self._letter("kappa") * (inhibited + around)
        multiplied = self._letter("omega") * inhibited * around
        excited = torch.tanh(added + multiplied)
        return self.eta[step] * (mixing * state + (1 - mixing) * excited)

    def _letter(self, greek: str) -> Tensor | float:
        return self.letters.get(greek, 0.0)


def gabor_filters(n_orientations: int) -> Tensor:
    """Make the filters that the first layer starts from.

    Even and odd Gabors, exp(-r^2 / (2 s^2)) times cos or sin of 2 pi u / wavelength with u across
    the bars, at evenly spaced orientations, and a blob (a difference of Gaussians); each of mean 0
    and length 1.

    Parameters
    ----------
    n_orientations : int

    Returns
    -------
    Tensor, shape (2 n_orientations + 1, 1, 7, 7)
        Even and odd in turn, the blob last.
    """
    half = GABOR_KERNEL // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    distance = rows.square() + columns.square()
    envelope = torch.exp(-distance / (2 * GABOR_WIDTH**2))
    filters = []
    for index in range(n_orientations):
        angle = math.pi * index / n_orientations
        across = columns * math.sin(angle) + rows * math.cos(angle)
        phase = 2 * math.pi * across / GABOR_WAVELENGTH
        filters += [envelope * phase.cos(), envelope * phase.sin()]
    wider = torch.exp(-distance / (2 * (1.6 * GABOR_WIDTH) ** 2))
    filters.append(envelope / envelope.sum() - wider / wider.sum())
    bank = torch.stack(filters).unsqueeze(1)
    bank = bank - bank.mean((2, 3), keepdim=True)
    return (bank / bank.square().sum((2, 3), keepdim=True).sqrt()).float()


def _pairs(channels: int) -> Tensor:
    """Return the number of each unordered pair of channels, from 0: (channels, channels)."""
    pairs = torch.zeros(channels, channels, dtype=torch.long)
    rows, columns = torch.triu_indices(channels, channels)
    pairs[rows, columns] = pairs[columns, rows] = torch.arange(len(rows))
    return pairs

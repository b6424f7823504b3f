"""Forward-forward: every layer learns to tell images with the right label from those without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from brainscore_lite.learning_rules.classification import count_correct, labels_of
from brainscore_lite.learning_rules.learning_rule import (
    Batch,
    Estimator,
    Exactness,
    ParameterGroup,
    StepInfo,
    Support,
    check_support,
)
from brainscore_lite.learning_rules.local.forward_forward_goodness import (
    Goodness,
    GoodnessKind,
    check_goodness,
    normalised,
)
from brainscore_lite.learning_rules.local.forward_forward_labels import (
    LABEL_STRENGTHS,
    LabelCode,
    LabelsAs,
    labelled_drive,
    wrong_labels,
)
from brainscore_lite.learning_rules.local.forward_forward_layers import (
    PROBED,
    OnePassReadout,
    Probed,
    contrast_layers,
    frozen_one_pass_readout,
    peers_of,
    respond_normalised,
    supports_goodness,
    threshold_for,
    weights_of,
)
from brainscore_lite.learning_rules.self_supervised.views import encoder_parameters
from brainscore_lite.learning_rules.settings import (
    check_choices,
    check_not_negative,
    check_positive,
)
from brainscore_lite.learning_rules.stages import stages
from brainscore_lite.learning_rules.support import areas_of
from brainscore_lite.networks.areas import Area
from brainscore_lite.networks.model import Step
from brainscore_lite.networks.network import Network

_EXAMPLES_AT_ONCE = 1000


@dataclass(frozen=True)
class ForwardForward:
    """Give images with their own label high goodness and those with a wrong one low goodness.

    h_l = f_l(h_{l-1}^),  h^ = sqrt(d) h / |h|,  g_l = sum_j h_lj^2,
    L_l = mean log(1 + exp(-+ (g_l - theta))),  dW_l = -lr dL_l / dW_l

    Parameters
    ----------
    labels_as : {"automatic", "pixels", "waves"}
        How a label is written into an image: on its first pixels, or as a wave over the whole
        image, which convolutions need; by default waves where an area is convolutional.
    label_strength : float, optional
        Of the contrast between black and white; by default 8 for pixels, which are few, and 1 for
        waves.
    goodness : {"sum_of_squares", "mean_of_squares", "absolute", "t_density"}
    threshold : float, optional
        Share of theta of each unit (see `Goodness`); by default 0.3 where an activation is bounded
        and 1 elsewhere: about the mean square of a layer before training.
    temperature : float, optional
        Of the decision between real and false; None is the root of the number of units, which
        learns faster and ends lower.
    minimised : bool
        Whether images with their own label are to have low goodness instead.
    peer_normalisation : float
        Strength with which the mean activities of a layer's units are drawn together.
    negatives : {"random", "hard"}
        Wrong labels are drawn evenly, or as often as the readout takes them for right.
    prediction : {"goodness", "readout"}
        By the label with the most goodness per unit, summed over all layers but the first, or by a
        linear readout of these layers under the neutral label, trained at the same time.
    probed : {"normalised", "raw"}
        Whether activations are given as passed on, or with their length.

    Raises
    ------
    ContractError
        If a setting is out of its range.

    References
    ----------
    Hinton (2022), arXiv:2212.13345; Scodellaro et al. (2025), doi:10.1038/s41598-025-26235-2
    (labels for convolutions).

    Examples
    --------
    >>> ForwardForward().exactness
    'none'
    >>> sorted(ForwardForward(negatives="hard").makes_local)
    ['separate_error', 'weight_transport']
    """

    family: ClassVar[str] = "local"
    name: ClassVar[str] = "forward_forward"
    citation: ClassVar[str] = "Hinton 2022, arXiv:2212.13345"
    exactness: ClassVar[Exactness] = "none"
    ngrad: ClassVar[bool] = False
    requires: ClassVar[frozenset[str]] = frozenset({"labels"})

    labels_as: Literal["automatic", "pixels", "waves"] = "automatic"
    label_strength: float | None = None
    goodness: GoodnessKind = "sum_of_squares"
    threshold: float | None = None
    temperature: float | None = 1.0
    minimised: bool = False
    peer_normalisation: float = 0.03
    negatives: Literal["random", "hard"] = "random"
    prediction: Literal["goodness", "readout"] = "goodness"
    probed: Probed = "normalised"

    def __post_init__(self) -> None:
        check_choices(
            self,
            labels_as=("automatic", "pixels", "waves"),
            negatives=("random", "hard"),
            prediction=("goodness", "readout"),
            probed=PROBED,
        )
        if self.label_strength is not None:
            check_positive(self, "label_strength")
        check_not_negative(self, "peer_normalisation")
        check_goodness(self)

    @property
    def makes_local(self) -> frozenset[str]:
        """Demands of backprop that it does without; hard negatives wait for the readout."""
        local = {"weight_transport", "separate_error"}
        return frozenset(local if self.negatives == "hard" else {*local, "update_locking"})

    @property
    def needs_readout(self) -> bool:
        """Whether a readout is trained beside the layers."""
        return self.negatives == "hard" or self.prediction == "readout"

    def written(self, architecture: Any) -> LabelsAs:
        """Say how labels are written into the images of an architecture."""
        if self.labels_as != "automatic":
            return self.labels_as
        convolutional = any(isinstance(area, Area) for area in areas_of(architecture))
        return "waves" if convolutional else "pixels"

    def supports(self, architecture: Any) -> Support:
        """Accept a chain of areas where examples are apart and activity is free in its length."""
        frozen = frozen_one_pass_readout if self.needs_readout else _frozen_layers
        found = supports_goodness(architecture, frozen(architecture))
        if found.ok and self.written(architecture) == "pixels":
            n_classes = cast(Any, areas_of(architecture)[-1]).units
            if n_classes > architecture.image_size**2:
                return Support(
                    ok=False,
                    reason=f"its {n_classes} labels need a pixel each, and its images have "
                    f"{architecture.image_size**2}. Set labels_as='waves'.",
                )
        return found

    def bind(self, network: nn.Module, generator: torch.Generator) -> Estimator:
        """Join the rule to a network, which is trained in place.

        Raises
        ------
        UnsupportedNetworkError
            If the network is no chain of areas, an area to be trained ends in a black box, its
            normalisation mixes examples or fixes the length of activity, or its hidden layers are
            frozen, or the readout where the rule needs one.
        """
        check_support(self, network)
        return _ForwardForwardEstimator(cast(Network, network), generator, rule=self)


def _frozen_layers(architecture: Any) -> str:
    if not isinstance(architecture, Network) or encoder_parameters(architecture):
        return ""
    return (
        "all of its weights below the readout are frozen, and the rule trains no others. Set "
        "requires_grad on them, or prediction='readout'."
    )


class _ForwardForwardEstimator(Estimator):
    network: Network

    def __init__(
        self, network: Network, generator: torch.Generator, *, rule: ForwardForward
    ) -> None:
        super().__init__(network, generator)
        self.rule = rule
        self.goodness = Goodness(
            rule.goodness,
            threshold_for(network) if rule.threshold is None else rule.threshold,
            rule.temperature,
            rule.minimised,
        )
        *self.hidden, own_readout = stages(network)
        self.n_classes = cast(Any, own_readout.area.settings).units
        written = rule.written(network)
        strength = rule.label_strength or LABEL_STRENGTHS[written]
        self.code = LabelCode(network, self.n_classes, written=written, strength=strength)
        self.peers = peers_of(network, rule.peer_normalisation)
        self.readout = OnePassReadout(network) if rule.needs_readout else None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the weights of the hidden layers, and of the readout where it is trained."""
        trained = weights_of(self.hidden)
        read = () if self.readout is None else self.readout.parameters_read()
        return [ParameterGroup((*trained, *read))]

    def forward(self, batch: Batch, step: Callable[[], None]) -> StepInfo:
        """Write the gradient of each layer's own loss, from one pass of right and wrong labels."""
        labels = labels_of(batch, rule=self.rule.name)
        images = self.network.entering(batch.images)
        n_correct, scores = None, None
        if self.readout is not None:
            _, scores = self.readout.train_on(self.code(images), labels)
            n_correct = count_correct(scores, labels)
        wrong = self._wrong(labels, scores)
        shown = torch.stack([labels, wrong])
        drive = labelled_drive(self.hidden[0], images, shown, code=self.code)
        loss = contrast_layers(
            self.hidden, drive, n_real=len(labels), goodness=self.goodness, peers=self.peers
        )
        return StepInfo(loss=loss.item(), n_correct=n_correct)

    def _wrong(self, labels: Tensor, scores: Tensor | None) -> Tensor:
        if self.rule.negatives == "random" or scores is None:
            return wrong_labels(labels, self.n_classes, generator=self.generator)
        taken_for_right = scores.softmax(dim=1).clamp_min(1e-6)
        taken_for_right.scatter_(1, labels.unsqueeze(1), 0.0)
        taken_for_right = taken_for_right.to(self.generator.device)
        drawn = torch.multinomial(taken_for_right, 1, generator=self.generator)
        return drawn.squeeze(1).to(labels.device)

    def predict(self, images: Tensor) -> Tensor:
        """Score the classes by the goodness of each label above the first layer, or by readout.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)

        Returns
        -------
        Tensor, shape (batch, n_classes)
        """
        images = self.network.entering(images)
        if self.readout is not None and self.rule.prediction == "readout":
            return self.readout(self.code(images))
        at_once = max(1, _EXAMPLES_AT_ONCE // self.n_classes)
        return torch.cat([self._evidence(some) for some in images.split(at_once)])

    def _evidence(self, images: Tensor) -> Tensor:
        every = torch.arange(self.n_classes, device=images.device)
        shown = every.unsqueeze(1).expand(-1, len(images))
        drive = labelled_drive(self.hidden[0], images, shown, code=self.code)
        answers = [self.hidden[0].area.respond_to(drive)]
        for stage in self.hidden[1:]:
            answers.append(stage(normalised(answers[-1])))
        judging = answers[1:] or answers
        total = torch.stack([self.goodness.evidence(each) for each in judging]).sum(dim=0)
        return total.view(self.n_classes, len(images)).T

    def respond(self, images: Tensor, layers: Sequence[str] | None = None) -> Iterator[Step]:
        """Yield the activations under the neutral label; the readout's are the predicted scores."""
        images = images.to(self.code.keep.device)
        yield from respond_normalised(
            self.network,
            self.code(self.network.entering(images)),
            layers,
            probed=self.rule.probed,
            readout=lambda: self.predict(images),
        )

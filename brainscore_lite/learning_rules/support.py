"""What a rule may find wrong with a network, each in one sentence that says what would work.

Every check returns the sentence, or an empty string where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from itertools import pairwise
from typing import Any, cast

from torch import nn

from brainscore_lite.learning_rules.learning_rule import Support
from brainscore_lite.networks.areas import Area, AreaModule, Dense
from brainscore_lite.networks.black_box import BlackBox
from brainscore_lite.networks.connections import IMAGE, Connection
from brainscore_lite.networks.convnet import ConvNet
from brainscore_lite.networks.elman import ElmanNetwork
from brainscore_lite.networks.network import Network


def support(*findings: str) -> Support:
    """Return whether nothing was found, or else the first finding."""
    wrong = [finding for finding in findings if finding]
    return Support(ok=not wrong, reason=wrong[0] if wrong else "")


def differentiable_graph(architecture: Any, *findings: str) -> Support:
    """Accept graphs of areas with weights to train and derivatives throughout.

    Parameters
    ----------
    architecture : ConvNet or Module
    findings : str
        What else may be wrong with it.
    """
    return support(
        untrainable(architecture),
        no_graph_of_areas(architecture),
        black_box(architecture),
        *findings,
    )


def areas_of(architecture: Any) -> tuple[Area | Dense, ...]:
    """Return the areas from below to above, the readout last; nothing where there are none."""
    if isinstance(architecture, ConvNet):
        return architecture.single_areas
    if isinstance(architecture, Network):
        return tuple(cast(AreaModule, area).settings for area in architecture.areas.values())
    return ()


def untrainable(architecture: Any) -> str:
    """Find that there are no weights, or that none of a module's can be trained."""
    if not isinstance(architecture, ConvNet | nn.Module):
        return (
            f"a {type(architecture).__name__} has no weights that the rule could find. Give an "
            "architecture (ConvNet) or a torch module."
        )
    if isinstance(architecture, nn.Module) and not any(
        p.requires_grad for p in architecture.parameters()
    ):
        return (
            "none of its weights can be trained. Use the rule 'untrained', or set requires_grad on "
            "the weights to train."
        )
    return ""


def black_box(architecture: Any) -> str:
    """Find a stage of unknown function, through which no derivative passes."""
    if isinstance(architecture, nn.Module):
        for name, part in architecture.named_modules():
            if isinstance(part, BlackBox):
                return (
                    f"'{name}' is a black box, through which no derivative passes. Use "
                    "'node_perturbation' or 'weight_perturbation', which need none, or a rule that "
                    "learns area by area, such as 'forward_forward'."
                )
    return ""


def trained_black_box(architecture: Any, areas: Collection[str] | None = None) -> str:
    """Find a stage of unknown function in an area that is itself to be trained.

    Where no error passes between areas, each needs the derivative of itself alone.

    Parameters
    ----------
    architecture : ConvNet or Module
    areas : collection of str, optional
        Names of those to look at; all by default.
    """
    if not isinstance(architecture, Network):
        return ""
    for name, area in architecture.areas.items():
        into = [each for each in architecture.connections.values() if each.target == name]
        learns = any(p.requires_grad for part in (area, *into) for p in part.parameters())
        boxed = any(isinstance(part, BlackBox) for part in area.modules())
        if learns and boxed and (areas is None or name in areas):
            return (
                f"area '{name}' is to be trained and ends in a black box, through which no "
                "derivative passes. Set requires_grad=False on its weights, or use "
                "'node_perturbation' or 'weight_perturbation', which need none."
            )
    return ""


def no_graph_of_areas(architecture: Any) -> str:
    """Find that an architecture is not made of areas and connections."""
    if isinstance(architecture, ConvNet | Network):
        return ""
    return (
        f"a {type(architecture).__name__} is no graph of areas whose parts the rule could drive. "
        "Build it as a ConvNet, or train it with 'backprop'."
    )


def no_chain(architecture: Any) -> str:
    """Find that signals do not pass from area to area in one single line, in one step."""
    wrong = no_graph_of_areas(architecture)
    if wrong:
        return wrong
    advice = "Use a feedforward ConvNet, or a rule for any graph such as 'backprop'."
    wrong = recurrent(architecture, why="the rule needs a chain of areas", instead=advice)
    if wrong:
        return wrong
    if isinstance(architecture, ConvNet):
        in_line = not architecture.skip
    else:
        expected = set(pairwise([IMAGE, *architecture.areas]))
        joined = cast(Iterable[Connection], architecture.connections.values())
        in_line = {(each.source, each.target) for each in joined} == expected
    return "" if in_line else f"its areas are not joined in one single line. {advice}"


def recurrent(architecture: Any, *, why: str, instead: str) -> str:
    """Find that an architecture runs more than one step, or has signals that take a step.

    Parameters
    ----------
    architecture : ConvNet or Network
    why : str
        As in "the rule needs a chain of areas".
    instead : str
        What would work, a sentence.
    """
    if isinstance(architecture, ConvNet):
        delayed = architecture.lateral or bool(architecture.feedback_edges)
    elif isinstance(architecture, Network):
        delayed = any(each.delay for each in architecture.connections.values())
    else:
        return ""
    if not delayed and architecture.n_steps == 1:
        return ""
    return f"it is recurrent, and {why}. {instead}"


def keeps_state(architecture: Any, *, why: str) -> str:
    """Find areas that keep part of their state from step to step, or a readout that adds up.

    Parameters
    ----------
    architecture : ConvNet or Network
    why : str
        As in "the rule predicts each state from what arrives alone".
    """
    if not isinstance(architecture, ConvNet | Network):
        return ""
    if isinstance(architecture, ConvNet):
        adds_up = architecture.readout == "cumulative"
    else:
        adds_up = architecture.cumulative
    if architecture.tau == 1.0 and not adds_up:
        return ""
    return (
        f"it has tau={architecture.tau:g}{' and a cumulative readout' if adds_up else ''}, but "
        f"{why}. Use tau=1 and readout='step', or another rule, such as 'bptt'."
    )


def joined_by_gain(architecture: Any, *, why: str) -> str:
    """Find lateral and feedback input that multiplies what comes from below.

    Parameters
    ----------
    architecture : ConvNet or Network
    why : str
        As in "the rule takes the inputs of an area as a sum".
    """
    if isinstance(architecture, ConvNet):
        gained = architecture.combine == "gain"
    else:
        gained = isinstance(architecture, Network) and any(
            cast(AreaModule, area).combine == "gain" for area in architecture.areas.values()
        )
    if not gained:
        return ""
    return f"it has combine='gain', but {why}. Use combine='add', or another rule, such as 'bptt'."


def normalised_by(architecture: Any, norms: Set[str], *, why: str) -> str:
    """Find an area with one of these norms; `why` says what they break.

    Parameters
    ----------
    architecture : ConvNet or Network
    norms : set of str
        For example `BATCH_NORMS`.
    why : str
        As in "statistics of the batch make examples depend on each other".
    """
    for area in areas_of(architecture):
        for place in ("norm", "post_norm"):
            if getattr(area, place) in norms:
                return (
                    f"area '{area.name}' has {place}='{getattr(area, place)}', but {why}. Set "
                    f"{place}='none'."
                )
    return ""


def activated_otherwise(architecture: Any, allowed: Set[str], *, why: str) -> str:
    """Find an area below the readout whose activation is not among those allowed.

    Parameters
    ----------
    architecture : ConvNet or Network
    allowed : set of str
        Keys of `ACTIVATIONS`.
    why : str
        As in "the rule settles only where activations are bounded".
    """
    for area in areas_of(architecture)[:-1]:
        if area.activation not in allowed:
            return (
                f"area '{area.name}' has activation='{area.activation}', but {why}. Choose one of: "
                f"{', '.join(sorted(allowed))}."
            )
    return ""


def pooled_by_maximum(architecture: Any, *, why: str) -> str:
    """Find an area whose connection pools by maximum."""
    for area in areas_of(architecture):
        pools = (area.pool_in, getattr(area, "pool_out", None))
        if any(pool is not None and pool.method == "max" for pool in pools):
            return f"area '{area.name}' pools by maximum, but {why}. Use Pool('average', ...)."
    return ""


def no_sequence(architecture: Any) -> str:
    """Find that an architecture cannot be run step by step."""
    if isinstance(architecture, ElmanNetwork):
        return ""
    return no_graph_of_areas(architecture)


def no_elman_network(architecture: Any) -> str:
    """Find that an architecture is not the small recurrent network of rules online in time."""
    if isinstance(architecture, ElmanNetwork):
        return ""
    other = "backprop" if no_graph_of_areas(architecture) else "bptt"
    return (
        f"derivatives are carried forward in time for an ElmanNetwork only, and this is a "
        f"{type(architecture).__name__}. Use an ElmanNetwork, or train it with '{other}'."
    )

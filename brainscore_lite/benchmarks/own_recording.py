"""A benchmark of one's own recording, scored as here or as another toolkit does."""

import numpy as np
import xarray as xr

from brainscore_lite.benchmarks.brainscore_protocol import BrainScore
from brainscore_lite.benchmarks.definition import Benchmark, ceiling_of
from brainscore_lite.benchmarks.protocols import Protocol, protocol_of
from brainscore_lite.configuration import digest_bytes
from brainscore_lite.datasets import Dataset
from brainscore_lite.metrics import METRICS, Metric
from brainscore_lite.schema import ContractError, check_rdms, check_responses
from brainscore_lite.score import Aggregation, Score
from brainscore_lite.stimuli import StimulusSet


def benchmark_of(
    recording: xr.DataArray,
    *,
    stimuli: StimulusSet | None,
    metric: str | Metric = "ridge",
    region: str | None = None,
    name: str = "own_recording",
    n_draws: int = 1000,
    protocol: str | Protocol | None = None,
) -> Benchmark:
    """Make a benchmark of your own recording.

    Parameters
    ----------
    recording : DataArray
        Made by ``responses(...)`` or ``rdms(...)``.
    stimuli : StimulusSet or None
        The images; their labels are the recording's ``stimulus`` labels. None where activations
        are at hand, so that no model has to be shown them.
    metric : str or Metric
        A name of ``METRICS`` or a metric; of the protocol's metrics, where one is named.
    region : str, optional
        Needed where the recording holds several; the others are left out.
    name : str
        Of the recording, without dots.
    n_draws : int
        Bootstrap draws over stimuli; 0 for none.
    protocol : {"brainscore", "rsatoolbox"}, BrainScore or Rsatoolbox, optional
        Score as that toolkit does: its metric, splits, aggregation and ceiling.
        ``protocol="brainscore", metric="pls"`` is ``protocol=BrainScore("pls")``, which has
        further settings.

    Returns
    -------
    Benchmark
        With the ceiling that :func:`ceiling_of` finds for the recording, or the protocol's.

    Raises
    ------
    ContractError
        If the metric, the protocol or the region is unknown, images are missing, or there are time
        bins.
    """
    if isinstance(protocol, str):
        protocol = protocol_of(protocol, metric)
    if protocol is None and isinstance(metric, str) and metric not in METRICS:
        raise ContractError(f"unknown metric '{metric}'; known: {', '.join(METRICS)}.")
    if "." in name:
        raise ContractError(f"the recording's name is '{name}'; leave out the dots.")
    if not isinstance(recording, xr.DataArray):
        raise ContractError(
            f"recording is {type(recording).__name__}, expected what responses(...) or rdms(...) "
            "makes of an array and its labels."
        )
    (check_rdms if "stimulus_other" in recording.dims else check_responses)(recording, name=name)
    target, area = _one_region(recording, region)
    if stimuli is not None:
        _check_images(target, stimuli)
    if protocol is None:
        chosen = METRICS[metric] if isinstance(metric, str) else metric
        label = metric if isinstance(metric, str) else type(metric).__name__.lower()
        ceiling, reason = ceiling_of(target, chosen)
        aggregation = Aggregation()
    else:
        target = protocol.target(target)
        chosen, label = protocol.scoring(), protocol.label
        ceiling, reason = protocol.ceiling(target)
        aggregation = protocol.aggregation
    dataset = Dataset(
        name=name,
        recordings={area: target},
        stimuli=stimuli,
        simulated=False,
        species=str(target.coords["species"].item()) if "species" in target.coords else "",
        reference="",
        licence="",
        sha256={"values and labels": _digest_of(target)},
    )
    return Benchmark(
        f"{name}.{area}.{label}",
        dataset,
        area,
        chosen,
        ceiling,
        no_ceiling=reason,
        n_draws=n_draws,
        aggregation=aggregation,
    )


def brainscore_score(
    activations: xr.DataArray,
    recording: xr.DataArray,
    *,
    metric: str = "pls",
    stratify: str | None = "object_name",
    test: str | None = None,
    by: str | None = None,
    n_draws: int = 0,
) -> Score:
    """Score activations against a recording as Brain-Score does.

    Parameters
    ----------
    activations : DataArray, dims (stimulus, neuroid)
        Of one layer.
    recording : DataArray, dims (repetition, stimulus, neuroid)
        With the stimuli in the order in which they were presented there, on which the splits
        depend.
    metric, stratify, test, by
        See :class:`BrainScore`.
    n_draws : int
        Bootstrap draws over stimuli, which Brain-Score has not.

    Returns
    -------
    Score
        ``raw`` and ``split_error`` are its ``raw`` and ``error``, ``reliability`` its ceiling;
        ``normalized("r2/c")`` its ceiled score since December 2025, ``"(r/c)2"`` before that,
        ``"r2/c by neuroid"`` with ceilings of single sites, ``"r/sqrt(c)"`` of ``rsa``, whose
        ceiling divides the score.

    Raises
    ------
    ContractError
        If stimuli are missing, the recording has no coordinate `stratify`, or a stratum is too
        small for the splits.
    """
    protocol = BrainScore(metric, stratify=stratify, test=test, by=by)
    made = benchmark_of(recording, stimuli=None, protocol=protocol, n_draws=n_draws)
    return made(activations)


def _check_images(target: xr.DataArray, stimuli: StimulusSet) -> None:
    missing = sorted(set(target["stimulus"].values.tolist()) - set(stimuli.ids))
    if missing:
        raise ContractError(
            f"{len(missing)} stimuli of the recording have no image in '{stimuli.name}'; first: "
            f"'{missing[0]}'. Images carry the recording's 'stimulus' labels as names, such as "
            f"'{stimuli.ids[0]}'."
        )


def _digest_of(recording: xr.DataArray) -> str:
    labels = [str(recording[dim].values.tolist()).encode() for dim in recording.dims]
    return digest_bytes(recording.values.tobytes(), *labels)


def _one_region(recording: xr.DataArray, region: str | None) -> tuple[xr.DataArray, str]:
    present = np.unique(recording["region"].values).tolist()
    if region is None and len(present) > 1:
        raise ContractError(f"the recording holds the regions {present}; name one with region=.")
    area = present[0] if region is None else region
    if area not in present:
        raise ContractError(f"the recording has no region '{area}'; it holds {present}.")
    if recording["region"].ndim == 0:
        return recording, area
    return recording.isel(neuroid=recording["region"].values == area), area

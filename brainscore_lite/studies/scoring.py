"""The seam of the two columns: record a model on a benchmark's images, then score it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from brainscore_lite.activations import RandomProjection, record
from brainscore_lite.benchmarks import Benchmark, benchmark
from brainscore_lite.layer_selection import LayerScores, select_layer
from brainscore_lite.networks import Model
from brainscore_lite.schema import ContractError
from brainscore_lite.score import Score
from brainscore_lite.stimuli import StimulusSet
from brainscore_lite.studies.models import NamedModel, load_model

AUTO = "auto"


@dataclass(frozen=True)
class Recording:
    """How activations are recorded for scoring.

    Parameters
    ----------
    whole_up_to : int
        Up to so many stimuli every unit of a layer is kept; beyond, layers wider than the
        projection are projected.
    projection : RandomProjection
        Sparse random projection, which keeps inner products up to a small error.
    batch_size : int
    step : int or None
        Of a model that answers over time; negative ones count from the last.
    """

    whole_up_to: int = 200
    projection: RandomProjection = RandomProjection()
    batch_size: int = 8
    step: int | None = None

    def __call__(
        self,
        model: Model,
        stimuli: StimulusSet,
        *,
        layers: Sequence[str] | None = None,
        progress: bool = False,
    ) -> xr.DataArray:
        """Record the layers of a model, all in one pass; dims (stimulus, neuroid).

        Where no layers are named, those that no signal has reached at the step are left out.

        Raises
        ------
        ContractError
            If the model answers in several steps and none is named, or it has no such step, or no
            signal has reached a named layer at it.
        """
        n_steps = getattr(model, "n_steps", 1)  # what is no model is refused by `record`
        if (n_steps > 1 and self.step is None) or not -n_steps <= (self.step or 0) < n_steps:
            raise ContractError(
                f"the model answers in {n_steps} steps and step is {self.step}. Name one from 0 to "
                f"{n_steps - 1}: score_model(..., recording=Recording(step=-1)), or --step -1, "
                "takes the last."
            )
        recorded = record(
            model,
            stimuli,
            layers=layers,
            batch_size=self.batch_size,
            projection=None if len(stimuli) <= self.whole_up_to else self.projection,
            progress=progress,
        )
        return recorded if n_steps == 1 else self._at_step(recorded, named=layers is not None)

    def _at_step(self, recorded: xr.DataArray, *, named: bool) -> xr.DataArray:
        now = recorded.isel(step=self.step, drop=True)
        absent = np.isnan(now.values[0])  # of a layer, all units or none
        if absent.all() or (named and absent.any()):
            layer = now["layer"].values[absent][0]
            first = int(np.argmin(np.isnan(recorded.values[0][absent][0])))
            raise ContractError(
                f"no signal has reached layer '{layer}' of '{recorded.name}' at step {self.step}; "
                f"the first to reach it comes at step {first}. Name that step or a later one."
            )
        return now[:, ~absent] if absent.any() else now


def score_model(
    model: str | Model | NamedModel,
    *benchmarks: str | Benchmark,
    layer: str = AUTO,
    seed: int = 0,
    recording: Recording | None = None,
    progress: bool = False,
) -> list[Score]:
    """Score a model against benchmarks.

    Parameters
    ----------
    model : str, Model or NamedModel
        A name of ``MODELS``, a folder of a trained model, or anything with ``respond`` (wrap a
        foreign torch module with ``wrap``).
    *benchmarks : str or Benchmark
        Names of ``BENCHMARKS`` or benchmarks; images that consecutive ones share are shown once.
    layer : str
        A layer's name, or "auto": chosen among the model's layers on stimuli kept apart from
        scoring (see ``layer_selection``).
    seed : int
        Of models that are drawn at random or trained here.
    recording : Recording, optional
        How activations are recorded; `Recording(step=-1)` takes the last step of a model that
        answers over time.
    progress : bool
        Show progress bars.

    Returns
    -------
    list of Score
        One for each benchmark.

    Raises
    ------
    ContractError
        If a name is unknown, images are missing, or the model has no such layer or step.

    Examples
    --------
    >>> from brainscore_lite.benchmarks import benchmark
    >>> [score] = score_model("pixels", benchmark("simulated_v4_it.V4.rsa", n_draws=20))
    >>> -1 <= score.raw <= 1
    True
    """
    if not benchmarks:
        raise ContractError(
            "no benchmark was given. Name at least one, such as 'algonauts2019_92.IT.rsa'."
        )
    named = _with_name(model, seed=seed, progress=progress)
    targets = [benchmark(each) if isinstance(each, str) else each for each in benchmarks]
    scored = score_layers(
        named, targets, layer=layer, recording=recording or Recording(), progress=progress
    )
    return [each.score for each in scored]


def score_layers(
    named: NamedModel,
    benchmarks: Sequence[Benchmark],
    *,
    layer: str = AUTO,
    recording: Recording,
    progress: bool = False,
) -> Iterator[LayerScores]:
    """Yield for each benchmark the score of the layer given or chosen, and each layer's value."""
    recorded: dict[str, xr.DataArray] = {}
    for target in benchmarks:
        key = target.stimuli.digest
        if key not in recorded:
            layers = None if layer == AUTO else [layer]
            recorded.clear()
            recorded[key] = recording(named.model, target.stimuli, layers=layers, progress=progress)
            recorded[key].attrs |= {
                "model": named.name,
                "task": named.task,
                "accuracy": named.accuracy,
            }
        if layer == AUTO:
            yield select_layer(target, recorded[key])
        else:
            score = target(recorded[key])
            yield LayerScores(score, {layer: score.raw})


def _with_name(model: str | Model | NamedModel, *, seed: int, progress: bool) -> NamedModel:
    if isinstance(model, NamedModel):
        return model
    if isinstance(model, str):
        return load_model(model, seed=seed, progress=progress)
    return NamedModel(getattr(model, "name", type(model).__name__), model)

"""A training run on disk: what was asked for, checkpoints, and how to go on after a kill."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainscore_lite.learning_rules.learning_rule import Estimator
from brainscore_lite.schema import ContractError
from brainscore_lite.storage import (
    StorageError,
    load_json,
    load_safetensors,
    save_json,
    save_safetensors,
)
from brainscore_lite.training.history import History

_ESTIMATOR, _OPTIMIZER = "estimator.", "optimizer."


@dataclass(frozen=True)
class RunFolder:
    """Files of one training run; each is written whole or not at all.

    ``config.json`` (what was asked for), ``checkpoints/epoch_000.safetensors`` and so on,
    ``history.csv``, ``card.json``, ``progress.safetensors`` (everything needed to go on; removed at
    the end)
    and ``weights.safetensors``, whose presence says that training is finished.

    Parameters
    ----------
    path : Path
    """

    path: Path

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return (self.path / "weights.safetensors").is_file()

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Write down what is asked for, or check that the folder holds the same run.

        Raises
        ------
        ContractError
            If the folder holds another run (the message lists what differs), or one that another
            version of torch began and did not finish: its second half would not be the same.
        """
        file = self.path / "config.json"
        wanted = json.loads(json.dumps(asked))
        begun = self.finished or (self.path / "progress.safetensors").is_file()
        if not begun or not file.is_file():  # nothing is lost
            save_json(wanted, file)
            return
        kept = self.config()
        versions, here = kept.pop("versions", None), wanted.pop("versions", None)
        differing = differences(kept, wanted)
        if differing:
            raise ContractError(
                f"the folder {self.path} holds another training run: {'; '.join(differing)}. "
                "Choose another folder, or ask for the same run to resume it."
            )
        if versions != here and not self.finished:
            raise ContractError(
                f"the folder {self.path} holds a run that was begun with other software: "
                f"{'; '.join(differences(versions, here, 'versions'))}. Finish it with that "
                "version, or choose another folder to begin anew."
            )

    def config(self) -> dict[str, Any]:
        """Read what was asked for."""
        asked: dict[str, Any] = load_json(self.path / "config.json")
        return asked

    def save_checkpoint(self, estimator: Estimator, epoch: int) -> None:
        """Keep the state after an epoch."""
        _save_state(estimator, self._checkpoint(epoch), epoch=epoch)

    def save_progress(
        self,
        estimator: Estimator,
        optimizer: torch.optim.Optimizer | None,
        rows: list[dict[str, Any]],
        *,
        epoch: int,
    ) -> None:
        """Keep all that is needed to go on after an epoch, in one file."""
        tensors = {f"{_ESTIMATOR}{k}": v for k, v in estimator.state_dict().items()}
        state = {} if optimizer is None else optimizer.state_dict()["state"]
        for index, entries in state.items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{index}.{name}"] = value
        save_safetensors(
            _unshared(tensors),
            self.path / "progress.safetensors",
            metadata={"epoch": f"{epoch}", "history": json.dumps(rows)},
        )
        History.from_rows(rows).save(self.path / "history.csv")

    def load_progress(self) -> Progress | None:
        """Read how far an earlier call came; None if it finished no epoch."""
        file = self.path / "progress.safetensors"
        if not file.is_file():
            return None
        tensors, metadata = load_safetensors(file)
        estimator = {
            key.removeprefix(_ESTIMATOR): value
            for key, value in tensors.items()
            if key.startswith(_ESTIMATOR)
        }
        optimizer: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(_OPTIMIZER):
                index, name = key.removeprefix(_OPTIMIZER).split(".", 1)
                optimizer.setdefault(int(index), {})[name] = value
        return Progress(
            int(metadata["epoch"]), estimator, optimizer, json.loads(metadata["history"])
        )

    def finish(
        self,
        estimator: Estimator,
        rows: list[dict[str, Any]],
        *,
        card: dict[str, Any],
        epoch: int,
    ) -> None:
        """Keep the final state and mark the run as finished."""
        History.from_rows(rows).save(self.path / "history.csv")
        save_json(card, self.path / "card.json")
        _save_state(estimator, self.path / "weights.safetensors", epoch=epoch)
        (self.path / "progress.safetensors").unlink(missing_ok=True)
        for half_written in self.path.rglob(".*.safetensors"):  # left by a kill
            half_written.unlink()

    def history(self) -> History:
        """Read the history as far as it goes."""
        return History.load(self.path / "history.csv")

    def state(self, epoch: int | None) -> tuple[dict[str, Tensor], int]:
        """Read the state after an epoch, or the final one, and the epoch's number.

        Raises
        ------
        StorageError
            If training has not finished, or the epoch was not kept.
        """
        file = self.path / "weights.safetensors" if epoch is None else self._checkpoint(epoch)
        if not file.is_file():
            kept = sorted(int(p.stem.split("_")[1]) for p in self._checkpoint(0).parent.glob("e*"))
            missing = "its training has not finished" if epoch is None else f"no epoch {epoch}"
            raise StorageError(
                f"{self.path}: {missing}; epochs kept: {kept}. Call fit with the same arguments "
                "and this folder to finish it, or load a kept epoch."
            )
        tensors, metadata = load_safetensors(file)
        return tensors, int(metadata["epoch"])

    def _checkpoint(self, epoch: int) -> Path:
        return self.path / "checkpoints" / f"epoch_{epoch:03d}.safetensors"


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an interrupted run came.

    Parameters
    ----------
    epoch : int
        The last one that was finished.
    estimator : dict of str to Tensor
    optimizer : dict of int to dict of str to Tensor
        State of each parameter, by its number.
    rows : list of dict
        Of the history.
    """

    epoch: int
    estimator: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    rows: list[dict[str, Any]]

    def restore(self, estimator: Estimator, optimizer: torch.optim.Optimizer | None) -> None:
        """Put the state back into a fresh estimator and, within a phase, its optimiser."""
        estimator.load_state_dict(self.estimator)
        if optimizer is None:
            return
        fresh = optimizer.state_dict()
        optimizer.load_state_dict({**fresh, "state": self.optimizer})
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter).copy_(value)


def _save_state(estimator: Estimator, path: Path, *, epoch: int) -> None:
    state = _unshared(estimator.state_dict())
    save_safetensors(state, path, metadata={"epoch": f"{epoch}"})


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy, so that weights tied to each other can be written under both names."""
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def differences(kept: Any, asked: Any, where: str = "") -> list[str]:
    """Say in words what differs between the settings of a folder and those asked for.

    Parameters
    ----------
    kept, asked : JSON values
    where : str
        Name of the part that they are.

    Returns
    -------
    list of str
        One for each part that differs.
    """
    if isinstance(kept, dict) and isinstance(asked, dict):
        return [
            line
            for key in sorted({*kept, *asked})
            for line in differences(kept.get(key), asked.get(key), f"{where}.{key}".strip("."))
        ]
    if isinstance(kept, list) and isinstance(asked, list):
        pairs = enumerate(itertools.zip_longest(kept, asked))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}[{i}]")]
    return [] if kept == asked else [f"{where} is {kept!r} there, {asked!r} here"]

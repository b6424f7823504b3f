"""One training loop for every learning rule."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from brainscore_lite.learning_rules.learning_rule import Batch, Estimator, Phase, StepInfo
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import torch_generator
from brainscore_lite.training.measurement import alignment, evaluate
from brainscore_lite.training.minibatches import Minibatches
from brainscore_lite.training.optimization import build_optimizer, learning_rate, set_learning_rate
from brainscore_lite.training.run_folder import RunFolder
from brainscore_lite.training.settings import (
    N_IMAGES_FOR_ALIGNMENT,
    N_TRAINING_IMAGES_MEASURED,
    Augmentation,
    TrainingConfig,
)


class TrainingDivergedError(RuntimeError):
    """Loss or weights became infinite or NaN."""


class Epoch(NamedTuple):
    """One pass through the training images: its number in the run (from 1), and in its phase."""

    number: int
    phase: Phase
    within: int
    of: int


class TrainingLoop:
    """A run under way: what it trains, and how far it is.

    Parameters
    ----------
    estimator : Estimator
        Trained in place.
    minibatches : Minibatches
    config : TrainingConfig
    folder : RunFolder or None
        Where to keep the state after each epoch.
    progress : bool
        Whether to show a progress bar.
    """

    def __init__(
        self,
        estimator: Estimator,
        minibatches: Minibatches,
        *,
        config: TrainingConfig,
        folder: RunFolder | None,
        progress: bool,
    ) -> None:
        self.estimator = estimator
        self.minibatches = minibatches
        self.config = config
        self.folder = folder
        self.phases = estimator.phases()
        self.plan = planned(self.phases, config)
        self.optimizer: torch.optim.Optimizer | None = None
        self.rows: list[dict[str, Any]] = []
        self.done = 0
        self.n_updates = 0
        self._sample = minibatches.probe(N_TRAINING_IMAGES_MEASURED)
        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not progress,
        )

    def run(self) -> None:
        """Train from where an earlier call stopped to the end.

        Raises
        ------
        TrainingDivergedError
            If loss or weights stop being finite.
        KeyboardInterrupt
            With a note that says how to go on.
        """
        n_steps = self.minibatches.n_steps
        try:
            with self._bar:
                task = self._bar.add_task("measuring", total=len(self.plan) * n_steps)
                self._start()
                for epoch in self.plan[self.done :]:
                    if self._reached_target():
                        break
                    self._bar.update(task, completed=(epoch.number - 1) * n_steps)
                    if epoch.within == 0:
                        self._enter(epoch.phase)
                    self._train(epoch)
                    self._conclude(epoch)
                self._bar.update(task, completed=len(self.plan) * n_steps)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self._how_to_go_on())
            raise

    def _start(self) -> None:
        """Take up the state that an earlier call left, or measure the network before training."""
        left = None if self.folder is None else self.folder.load_progress()
        self.estimator.train()
        if left is None:
            self.estimator.begin(self.phases[0])
            self._conclude(Epoch(0, self.phases[0], 0, 0))
            return
        self.rows, self.done = left.rows, left.epoch
        if self.done == len(self.plan):
            self.estimator.begin(self.phases[-1])
        elif self.plan[self.done].within > 0:
            self._enter(self.plan[self.done].phase)
        left.restore(self.estimator, self.optimizer)

    def _enter(self, phase: Phase) -> None:
        self.estimator.begin(phase)
        self.optimizer = build_optimizer(
            self.estimator.parameter_groups(), phase=phase, config=self.config
        )

    def _train(self, epoch: Epoch) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        loss, residual, n_correct, n_seen = 0.0, 0.0, 0, 0
        self.n_updates = 0
        self.estimator.train()
        # Foreign modules (dropout) draw from torch's own stream, which `fit` restores afterwards.
        stream = torch_generator(self.config.seed, "training", "modules", str(epoch.number))
        torch.set_rng_state(stream.get_state())
        for index, batch in enumerate(self.minibatches.epoch(epoch.number, epoch.phase)):
            info = self._train_step(epoch, batch, index)
            n_seen += len(batch.images)
            loss += info.loss * len(batch.images)
            n_correct += info.n_correct or 0
            residual += (info.settling_residual or 0.0) * len(batch.images)
            self._bar.update(
                self._bar.task_ids[0],
                advance=1,
                description=f"{epoch.phase.name} {epoch.number}/{len(self.plan)}: "
                f"loss {loss / n_seen:.3f}",
            )
        if not all(torch.isfinite(each).all() for each in self.estimator.parameters()):
            raise self._diverged(epoch, "weights are no longer finite")
        settled = info.settling_residual is not None
        self._add_row(
            epoch,
            split="batches",
            loss=loss / n_seen,
            accuracy=None if info.n_correct is None else n_correct / n_seen,
            seconds=time.perf_counter() - start,
            images=n_seen,
            updates=self.n_updates,
            cpu_seconds=time.process_time() - cpu,
            **({"settling_residual": residual / n_seen} if settled else {}),
        )

    def _train_step(self, epoch: Epoch, batch: Batch, index: int) -> StepInfo:
        step = 1 / self.minibatches.n_steps
        lr = learning_rate(
            epoch.within + index * step,
            step=step,
            n_epochs=epoch.of,
            phase=epoch.phase,
            config=self.config,
        )
        if self.optimizer is not None:
            set_learning_rate(self.optimizer, lr)
        info: StepInfo = self.estimator(batch, self._step)
        if not math.isfinite(info.loss):
            raise self._diverged(epoch, f"the loss is {info.loss} at step {index + 1}")
        self._step()
        self.estimator.after_step(lr)
        return info

    def _step(self) -> None:
        if self.optimizer is not None:
            self.n_updates += 1
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def _conclude(self, epoch: Epoch) -> None:
        """Measure the network after an epoch, and keep its state."""
        self._measure(epoch, "train")
        if "validation" in self.minibatches.splits:
            self._measure(epoch, "validation")
        self.done = epoch.number
        last = epoch.number == len(self.plan) or self._reached_target()
        checkpoint = epoch.number in self.config.checkpoint_epochs
        if last or checkpoint:
            self._measure(epoch, "test")
        if self.folder is not None:
            if checkpoint:
                self.folder.save_checkpoint(self.estimator, epoch.number)
            self.folder.save_progress(self.estimator, self.optimizer, self.rows, epoch=epoch.number)

    def _measure(self, epoch: Epoch, split: str) -> None:
        start = time.perf_counter()
        held = self._sample if split == "train" else self.minibatches.splits[split]
        loss, accuracy = evaluate(self.estimator, held, self.minibatches)
        angles = self._alignment(epoch.phase) if split == "train" else {}
        self._add_row(
            epoch,
            split=split,
            loss=loss,
            accuracy=accuracy,
            seconds=time.perf_counter() - start,
            **{f"alignment.{layer}": cosine for layer, cosine in angles.items()},
        )

    def _alignment(self, phase: Phase) -> dict[str, float]:
        """Compare the update with the gradient for the labels that the rule learns from."""
        probe = self.minibatches.probe(N_IMAGES_FOR_ALIGNMENT, phase=phase)
        of_views = torch_generator(self.config.seed, "training", "alignment", "views")
        return alignment(
            self.estimator,
            Batch(
                images=self.minibatches.normalised(probe.pixels),
                labels=probe.labels,
                views=self.minibatches.views(probe.pixels, phase.views, rng=of_views),
            ),
            told=phase.labels,
            seed=self.config.seed,
        )

    def _reached_target(self) -> bool:
        """Whether the last phase has reached the target accuracy on the validation images."""
        target = self.config.target_accuracy
        if target is None or not self.done:
            return False
        if self.plan[self.done - 1].phase is not self.phases[-1]:
            return False
        measured = [row["accuracy"] for row in self.rows if row["split"] == "validation"]
        return bool(measured[-1] >= target)

    def _add_row(self, epoch: Epoch, **measured: Any) -> None:
        self.rows.append({"epoch": epoch.number, "phase": epoch.phase.name, **measured})

    def _diverged(self, epoch: Epoch, what: str) -> TrainingDivergedError:
        kept = (
            "nothing was kept, for want of a folder"
            if self.folder is None
            else f"the state after epoch {self.done} is kept in {self.folder.path}"
        )
        lr = self.config.lr if epoch.phase.lr is None else epoch.phase.lr
        return TrainingDivergedError(
            f"training diverged in epoch {epoch.number} (phase '{epoch.phase.name}'): {what}, so "
            f"lower the learning rate (lr={lr:g}) or lengthen the warm-up "
            f"(warmup_epochs={self.config.warmup_epochs:g}), in a new folder; {kept}."
        )

    def _how_to_go_on(self) -> str:
        if self.folder is None:
            return "Training was interrupted and nothing kept. Give fit a folder to resume from."
        return (
            f"Training was interrupted after epoch {self.done} of {len(self.plan)}. Call fit with "
            f"the same arguments, folder='{self.folder.path}' among them, to go on from there."
        )


def planned(phases: tuple[Phase, ...], config: TrainingConfig) -> tuple[Epoch, ...]:
    """Lay out the epochs of all phases, numbered from 1.

    Parameters
    ----------
    phases : tuple of Phase
    config : TrainingConfig

    Returns
    -------
    tuple of Epoch

    Raises
    ------
    ContractError
        If a phase asks for several views and nothing makes them differ, or a checkpoint lies
        beyond the last epoch.
    """
    for phase in phases:
        if phase.views > 1 and config.augmentation == Augmentation():
            raise ContractError(
                f"training: phase '{phase.name}' compares {phase.views} views of an image, but "
                "without augmentation they are identical. Set augmentation, for example to "
                "Augmentation(flip=True, shift=4)."
            )
    plan = tuple(_numbered(phases, config))
    # One configuration serves many rules, so a rule may have fewer epochs than it names.
    last = max(config.epochs, len(plan))
    beyond = [epoch for epoch in config.checkpoint_epochs if epoch > last]
    if beyond:
        raise ContractError(
            f"training: checkpoint_epochs name epoch {beyond[0]}, but training ends after epoch "
            f"{last}. Leave it out, or train longer."
        )
    return plan


def _numbered(phases: tuple[Phase, ...], config: TrainingConfig) -> Iterator[Epoch]:
    number = 0
    for phase in phases:
        n_epochs = config.epochs if phase.epochs is None else phase.epochs
        for within in range(n_epochs):
            number += 1
            yield Epoch(number, phase, within, n_epochs)

"""Rows of the parity and the speed table, and peers that need an environment of their own."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Parity:
    """How far our value of a metric is from a peer's on the same data."""

    metric: str
    peer: str
    data: str
    largest_difference: float
    note: str = ""


@dataclass(frozen=True)
class Speed:
    """CPU seconds of ours and of a peer on the same work, medians of runs in turn."""

    work: str
    peer: str
    ours_s: float
    peer_s: float
    target: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer_s / self.ours_s


def cpu_seconds(work: Callable[[], object], *, runs: int = 3) -> float:
    """Return the median CPU time of a call over some runs."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times)


def run_peer(
    environment: str, script: str, arrays: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Run ``speed/peers/<script>`` in a peer's environment on these arrays, with one thread.

    The script is called with the path of an npz to read and of one to write. `make peers` builds
    the environments.

    Raises
    ------
    FileNotFoundError
        If the environment is not there.
    """
    python = HERE / ".peers" / environment / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"no environment of {environment}; build it with `make peers`.")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "given.npz", Path(folder) / "answer.npz"
        np.savez(given, **arrays)
        subprocess.run(
            [str(python), str(HERE / "peers" / script), str(given), str(answer)],
            check=True,
            env={**os.environ, **one_thread},
        )
        with np.load(answer) as found:
            return dict(found)


def markdown(rows: Sequence[Parity | Speed]) -> str:
    """Write rows of one kind as a Markdown table."""
    if isinstance(rows[0], Parity):
        lines = ["| metric | peer | data | largest difference | |", "|---|---|---|---:|---|"]
        cells = [
            [r.metric, r.peer, r.data, f"{r.largest_difference:.1e}", r.note]
            for r in rows
            if isinstance(r, Parity)
        ]
    else:
        lines = [
            "| work | peer | ours, CPU s | peer, CPU s | ratio | target | |",
            "|---|---|---:|---:|---:|---:|---|",
        ]
        cells = [
            [
                r.work,
                r.peer,
                f"{r.ours_s:.3g}",
                f"{r.peer_s:.3g}",
                f"{r.ratio:.1f}",
                "" if r.target is None else f"{r.target:g}",
                r.note,
            ]
            for r in rows
            if isinstance(r, Speed)
        ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])

"""Download one file over HTTP, with a progress bar."""

from __future__ import annotations

import sys
from pathlib import Path

import pooch
import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from brainscore_lite.datasets.dataset import DatasetError

_TIMEOUT_S = 30


class Unreachable(DatasetError):  # noqa: N818 (a state of the place, not a fault of the file)
    """A file is not to be had from any place that was tried."""


class _Bar:
    """Show a download's progress; has the attributes that pooch calls."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self._progress = Progress(
            *Progress.get_default_columns(),
            DownloadColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()
        self.total: int | None = None

    def update(self, amount: int) -> None:
        self._progress.update(self._task, total=self.total, advance=amount)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()


def download(url: str, path: Path, *, progress: bool | None = None) -> None:
    """Write what a URL holds to a path.

    Parameters
    ----------
    url : str
        http or https.
    path : Path
        Overwritten.
    progress : bool, optional
        Show a bar; by default where standard error is a terminal.

    Raises
    ------
    Unreachable
        If there is no network, no such file at the URL, or the connection breaks.
    OSError
        If the disk is full.
    """
    shown = sys.stderr.isatty() if progress is None else progress
    bar = _Bar(url.rsplit("/", 1)[-1], shown=shown)
    try:
        pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT_S)(url, str(path), None)
    except requests.RequestException as error:
        raise Unreachable(_reason(error)) from error
    finally:
        bar.close()


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return f"no connection: {type(error).__name__}"

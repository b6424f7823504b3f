"""Fixtures shared by all tests: the recordings, and the guard that keeps tests off the network."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder that holds the recordings as ``<dataset>/<file>``; without it the test is skipped."""
    place = os.environ.get("BRAINSCORE_LITE_MIRROR", "")
    if not Path(place).is_dir() or not place:
        pytest.skip(
            "needs recordings: set BRAINSCORE_LITE_MIRROR to a folder with <dataset>/<file>"
        )
    return Path(place)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Let sockets reach this machine only, so that no test depends on what the network gives."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def refuse(host: object) -> None:
        raise OSError(f"tests do not use the network, but one asked for {host!r}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            refuse(address[0])
        connect(self, address)

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (None, *LOOPBACK):
            refuse(host)
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield

"""One loaded engine for all threads of a process, or for all processes of a machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from apache_beam.utils.multi_process_shared import MultiProcessShared
from apache_beam.utils.shared import Shared

from .engines import registry
from .engines.contract import Matte
from .engines.loaded import LoadedEngine
from .errors import EngineError

Share = Literal["process", "machine"]
SHARES: tuple[Share, ...] = ("process", "machine")

Answer = TypeVar("Answer")

_handles: dict[str, Shared] = {}
_handles_lock = threading.Lock()


def load_engine(name: str, options: Mapping[str, Any]) -> LoadedEngine:
    """Makes and loads an engine.

    Raises:
      EngineUnusable: it cannot run on this machine.
    """
    registry.require_modules(name)
    return LoadedEngine(registry.create(name, options), name)


def acquire_engine(name: str, options: Mapping[str, Any], share: Share = "process") -> LoadedEngine:
    """Gives the engine that is already loaded for these options, or loads it.

    Args:
      name: as `registry.find` takes it.
      options: of the engine.
      share: who shares it: the threads of this process, or the processes of this machine too.

    Raises:
      EngineUnusable: it cannot run on this machine.
    """
    key = _key(name, options)
    with _handles_lock:
        handle = _handles.setdefault(f"{share} {key}", Shared())
    if share == "machine":
        return handle.acquire(lambda: MachineEngine(name, options, key))
    return handle.acquire(lambda: load_engine(name, options))


def _key(name: str, options: Mapping[str, Any]) -> str:
    described = json.dumps([name, dict(options)], sort_keys=True, default=repr)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


class MachineEngine(LoadedEngine):
    """A loaded engine that lives in one process of the machine, seen from any of them.

    Should that process end, the next call loads the engine anew, in this process or another.

    Attributes:
      info, parallel, predictors, batch_size, refines: as in `EngineTraits`.
    """

    def __init__(self, name: str, options: Mapping[str, Any], key: str) -> None:
        self._load = functools.partial(load_engine, name, dict(options))
        self._tag = f"alphabeam-{os.getuid()}-{key}"
        self._lock = threading.Lock()
        self._proxy = self._connected()
        traits = self._proxy.traits()
        self.info, self.parallel = traits.info, traits.parallel
        self.predictors, self.batch_size = traits.predictors, traits.batch_size
        self.refines = traits.refines

    def predict(self, pictures: Sequence[np.ndarray]) -> list[Matte | EngineError]:
        """Gives each picture's matte, or the error that stands for it."""
        return self._asked(lambda proxy: proxy.predict(pictures))

    def refine(
        self, pictures: Sequence[np.ndarray], alphas: Sequence[np.ndarray]
    ) -> list[np.ndarray | EngineError]:
        """Gives each picture's foreground colours, or the error that stands for it."""
        return self._asked(lambda proxy: proxy.refine(pictures, alphas))

    def _asked(self, question: Callable[[Any], Answer]) -> Answer:
        """Asks the engine, and once more where the process that held it is gone."""
        proxy = self._proxy
        try:
            return question(proxy)
        except (ConnectionError, EOFError):
            with self._lock:
                if self._proxy is proxy:
                    self._proxy = self._connected()
            return question(self._proxy)

    def _connected(self) -> Any:
        return MultiProcessShared(self._load, tag=self._tag).acquire()

"""The driver: one event loop in a thread of its own for all providers of a process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from . import keys
from .catalogue import make_adapter
from .contract import Adapter
from .endpoints import Endpoints
from .lane import Lane
from .messages import Picture
from .purchase import Purchase
from .settings import Job, ProviderSettings, Result
from .staging import stages
from .wire import Connections

# Threads for storage, downloads and decoding; most of their time they wait.
_THREADS = 64


class Provider:
    """A hosted service that cuts pictures out. Thread-safe and picklable.

    All providers of a process share one event loop and one connection pool; those with equal
    settings also share pace, budget and the state of being stopped.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        """Check the settings; no I/O, and the key is not looked for yet.

        Raises:
          ValueError: they will not do; one line that says why.
        """
        self.settings = settings
        self.adapter: Adapter = make_adapter(
            settings.provider, settings.options, Endpoints(settings.provider_urls)
        )
        keys.check_reference(settings.api_key)
        self._opened: tuple[int, Lane] | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make ready in this process; the first job does it where nobody has.

        Raises:
          ValueError: there is no key where its reference points.
        """
        self._lane()

    def refusal(self, picture: Picture) -> str | None:
        """Says in one line why a picture cannot be had this way; None when it can."""
        if picture.form == "data" and stages(self.adapter, self.settings):
            return None
        return self.adapter.check(picture)

    def cut_out(self, job: Job) -> Result:
        """Gets one picture, from the ledger or from the provider.

        Raises:
          ProviderError: this picture cannot be had.
          ProviderStoppedError: nothing more is submitted to this provider.
        """
        future = self.submit(job)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(self, job: Job) -> Future[Result]:
        """Starts getting one picture. Cancelling the future leaves the ledger as it is."""
        lane = self._lane()
        return _driver().run(lane, job)

    def submit_all(self, jobs: Iterable[Job]) -> list[Future[Result]]:
        """Starts getting pictures; how many are under way at once is the provider's setting."""
        return [self.submit(job) for job in jobs]

    def close(self) -> None:
        """Let go of pace, budget and the state of being stopped, when nobody else shares them."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            _driver().release(opened[1])

    def counts(self) -> Mapping[str, int]:
        """Gives how often what happened so far; see `Lane.counts`."""
        return dict(self._lane().counts)

    @property
    def spent_usd(self) -> float:
        """Dollars spent, or perhaps spent, by this process since it was opened."""
        return self._lane().budget.spent_usd

    def _lane(self) -> Lane:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), _driver().lane(self.settings)
            return self._opened[1]

    def __enter__(self) -> Provider:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return (Provider, (self.settings,))


@dataclass
class _Shared:
    lane: Lane
    users: int = 0


@dataclass
class _Purchase:
    task: asyncio.Task[Result]
    waiting: int = 0


@dataclass
class _Driver:
    """The loop, its thread, and what runs in it."""

    pid: int = field(default_factory=os.getpid)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="provider")
        self._connections = Connections()
        self._lanes: dict[str, _Shared] = {}
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], _Purchase] = {}
        threading.Thread(target=self.loop.run_forever, name="providers", daemon=True).start()

    def lane(self, settings: ProviderSettings) -> Lane:
        key = repr(settings)
        with self._lock:
            shared = self._lanes.get(key)
            if shared is None:
                shared = self._lanes[key] = _Shared(Lane(settings, self._connections, self._pool))
            shared.users += 1
            return shared.lane

    def release(self, lane: Lane) -> None:
        with self._lock:
            for key, shared in list(self._lanes.items()):
                if shared.lane is lane:
                    shared.users -= 1
                    if not shared.users:
                        del self._lanes[key]

    def run(self, lane: Lane, job: Job) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(self._share(lane, job), self.loop)

    async def _share(self, lane: Lane, job: Job) -> Result:
        """Runs a purchase, or waits for the one of the same name that is under way."""
        name = lane.name_of(job)
        key = (lane.ledger.base, name)
        while (purchase := self._under_way.get(key)) is not None and not purchase.waiting:
            await asyncio.wait([purchase.task])  # given up: let it unwind before going on from it
        if purchase is None:
            task = asyncio.ensure_future(Purchase(lane, job, name).run())
            purchase = self._under_way[key] = _Purchase(task)
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        purchase.waiting += 1
        try:
            return await asyncio.shield(purchase.task)
        finally:
            purchase.waiting -= 1
            if not purchase.waiting:
                purchase.task.cancel()


_current: _Driver | None = None
_current_lock = threading.Lock()


def _driver() -> _Driver:
    """Gives this process's driver; a forked process makes its own."""
    global _current
    with _current_lock:
        if _current is None or _current.pid != os.getpid():
            _current = _Driver()
        return _current

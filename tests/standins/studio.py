"""The work behind every stand-in: jobs that take time, pictures that really come from the input,
and a ledger of what was billed for what."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from .core import Answer, Request, Server
from .faults import Faults

JPEG, PNG, WEBP = ".jpg", ".png", ".webp"


@dataclass
class Job:
    """One accepted job.

    Attributes:
      reference: the input as it was sent.
      arguments: everything that was sent with it.
      state: `queued`, `running`, `done`, `failed` or `cancelled`.
      fault: what is to go wrong with it.
      created, ended: Unix times.
    """

    id: str
    reference: str
    arguments: dict
    fault: str | None
    created: float = field(default_factory=time.time)
    ended: float = 0.0
    state: str = "queued"
    picture: bytes = b""
    size: tuple[int, int] = (0, 0)
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Bill:
    """What was charged for one input."""

    job_id: str
    reference: str
    usd: float


class Studio(Server):
    """A server that takes jobs, works on some at once, and bills each when it is accepted.

    Job faults: `wedge` (never ends), `wedge_queued` (never starts) and the failures of the
    provider. Media faults: `404`, `503`, `truncate`, `corrupt`, `small` (half the size), `wide`
    (another shape), `jpeg`, `rgb` (a PNG without alpha), `vanish` (gone from that request on).
    """

    price = 0.018

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        seconds: float = 0.0,
        parallel: int = 64,
        key: str = "test-key-of-the-standin",
        money: float = float("inf"),
    ) -> None:
        """Set up.

        Args:
          faults: what goes wrong.
          seconds: what a picture takes.
          parallel: how many are worked on at once.
          key: the one that is accepted.
          money: the account's balance, dollars.
        """
        super().__init__(faults)
        self.seconds = seconds
        self.key = key
        self.money = money
        self.jobs: dict[str, Job] = {}
        self._bills: dict[str, Bill] = {}
        self._lock = threading.Lock()
        self._places = asyncio.Semaphore(parallel)
        self._inputs: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._vanished: set[str] = set()
        self._working: set[asyncio.Task] = set()

    def urls(self) -> dict[str, str]:
        """Gives the base addresses to hand to the client under test."""
        raise NotImplementedError

    def offer(self, name: str, data: bytes) -> str:
        """Puts a picture on the web, so that it can be sent by address."""
        self._inputs[f"/inputs/{name}"] = data
        return f"{self.url}/inputs/{name}"

    async def _respond(self, request: Request) -> Answer:
        if request.path in self._inputs:  # what is on the web is no part of the provider
            return Answer(200, self._inputs[request.path])
        return await super()._respond(request)

    @property
    def bills(self) -> list[Bill]:
        """Everything that was billed and not refunded."""
        with self._lock:
            return list(self._bills.values())

    def billed(self) -> Counter[str]:
        """Counts bills by input."""
        return Counter(bill.reference for bill in self.bills)

    def has_no_money(self) -> bool:
        """Tells whether the next picture could not be paid."""
        return sum(bill.usd for bill in self.bills) + self.price > self.money + 1e-9

    def accept(self, reference: str, arguments: dict, job_id: str | None = None) -> Job:
        """Takes a job, bills it and sets to work."""
        job = Job(
            job_id or self.new_id(next(self._numbers)),
            reference,
            arguments,
            self.faults.next("job"),
        )
        self.jobs[job.id] = job
        with self._lock:
            self._bills[job.id] = Bill(job.id, reference, self.price)
        self.note("accepted")
        self.set_to_work(job)
        return job

    def set_to_work(self, job: Job) -> None:
        """Lets a job take its turn."""
        work = asyncio.ensure_future(self._work(job))
        self._working.add(work)
        work.add_done_callback(self._working.discard)

    def new_id(self, number: int) -> str:
        """Makes a job's id; opaque, and in the manner of the seeds not a valid UUID."""
        digest = hashlib.sha256(f"{number}".encode()).hexdigest()
        return f"{digest[:8]}-g1h2-{digest[8:20]}"

    def refund(self, job: Job) -> None:
        """Takes a job off the bill."""
        with self._lock:
            self._bills.pop(job.id, None)

    async def _work(self, job: Job) -> None:
        async with self._places:
            if job.fault == "wedge_queued" or job.state == "cancelled":
                return
            job.state = "running"
            if job.fault == "wedge":
                return
            await asyncio.sleep(self.seconds)
            if job.fault and job.fault.startswith("fail"):
                job.state = "failed"
                self.refund(job)
            else:
                loop = asyncio.get_running_loop()
                data = await loop.run_in_executor(None, self._load, job.reference)
                job.picture, job.size = await loop.run_in_executor(
                    None, cut_out, data, self.output_form(job)
                )
                job.picture = self.dressed(job)
                job.state = "done"
            job.ended = time.time()
            job.finished.set()

    def dressed(self, job: Job) -> bytes:
        """Gives a job's picture as its arguments want it."""
        return job.picture

    def output_form(self, job: Job) -> str:
        """Gives the file form a job's picture has."""
        return PNG

    def _load(self, reference: str) -> bytes:
        if reference.startswith(self.url):
            return self._inputs[reference[len(self.url) :]]
        if reference.startswith(("http://", "https://")):
            with urllib.request.urlopen(reference) as answer:
                return answer.read()
        return base64.b64decode(reference.partition(",")[2] or reference)

    def media_url(self, job: Job) -> str:
        """Gives the address of a finished picture."""
        return f"{self.url}/media/{job.id}.png"

    def media(self, request: Request, fault: str | None) -> Answer:
        """Answers for a finished picture, as badly as planned."""
        job_id = request.path.removeprefix("/media/").removesuffix(".png")
        job = self.jobs.get(job_id)
        if fault == "vanish":
            self._vanished.add(job_id)
        vanished = job_id in self._vanished and "again" not in request.query
        if job is None or not job.picture or vanished:
            return Answer(404, {"detail": "Not Found"})
        return Answer(200, spoiled(job.picture, fault), {"Content-Type": "image/png"})


def luminance_alpha(rgb: np.ndarray) -> np.ndarray:
    """Makes a matte by a rule that both sides know: bright ground is background, softly."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_BGR2GRAY).astype(np.int32)
    return np.clip((220 - grey) * 8, 0, 255).astype(np.uint8)


_cache: dict[tuple[bytes, str], tuple[bytes, tuple[int, int]]] = {}


def cut_out(data: bytes, form: str = PNG) -> tuple[bytes, tuple[int, int]]:
    """Cuts a picture out by brightness.

    Returns:
      The encoded RGBA picture, and its (width, height).
    """
    key = hashlib.sha256(data).digest(), form
    if key not in _cache:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        bgra = np.dstack([bgr, luminance_alpha(bgr)])
        _cache[key] = encoded(bgra, form), (bgr.shape[1], bgr.shape[0])
    return _cache[key]


def encoded(picture: np.ndarray, form: str = PNG) -> bytes:
    """Encodes a picture; WebP without loss."""
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if form == WEBP else []
    return cv2.imencode(form, picture, options)[1].tobytes()


def _edit(change: Callable[[np.ndarray], np.ndarray], form: str = PNG) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return encoded(change(picture), form)

    return edit


_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "truncate": lambda data: data[: len(data) // 2],
    "corrupt": lambda data: data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :],
    "small": _edit(lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)),
    "wide": _edit(lambda p: cv2.resize(p, None, fx=2.0, fy=1.0)),
    "jpeg": _edit(lambda p: p[..., :3], JPEG),
    "rgb": _edit(lambda p: p[..., :3]),
}


def _to_its_box(picture: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect(picture[..., 3])
    return picture[top : top + height, left : left + width]


cropped = _edit(_to_its_box)
"""Crops a picture to the box of what is not transparent in it."""


def spoiled(data: bytes, fault: str | None) -> bytes:
    """Spoils a picture in the way a media fault names."""
    return _SPOILERS[fault](data) if fault in _SPOILERS else data

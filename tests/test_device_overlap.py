"""Two batches on their way to a device at once: order, memory, numbers, and foreground colours.

The device is the CPU with the habits of an accelerator: it resizes pictures and refines colours.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image
from stub_engines import disc
from test_job import errors_of, rows_of, run
from test_torch_runner import Constant, Overflowing

from alphabeam.transforms.cutout import ChainSettings, cut_out
from alphabeam.transforms.engines.contract import Matte
from alphabeam.transforms.engines.device_memory import MemoryGate
from alphabeam.transforms.engines.device_refiner import DeviceRefiner
from alphabeam.transforms.engines.loaded import LoadedEngine
from alphabeam.transforms.engines.preprocessing import IMAGENET
from alphabeam.transforms.engines.probabilities import Probabilities
from alphabeam.transforms.engines.torch_runner import TorchRunner
from alphabeam.transforms.engines.transfers import Transfers
from alphabeam.transforms.errors import EngineError
from alphabeam.transforms.matte import ComposeSettings
from alphabeam.transforms.records import Cutout, Failure, ImageRecord

CPU = torch.device("cpu")
PATIENCE = 60  # seconds


class Accelerator(Transfers):
    """Counts uploads, and lets tests act at each."""

    resizes = True

    def __init__(self, on_upload=lambda number: None):
        super().__init__(CPU)
        self._count = 0
        self._lock = threading.Lock()
        self._on_upload = on_upload

    def upload(self, array):
        with self._lock:
            self._count += 1
            number = self._count
        self._on_upload(number)
        return super().upload(array)


def runner_on(network, transfers, dtype=torch.float32, batch_size=2):
    runner = TorchRunner(
        Probabilities(network), CPU, dtype, IMAGENET, lambda *size: (32, 32), transfers
    )
    runner.prepare((32, 32), batch_size, compiled=False)
    return runner


def greys(*levels):
    return [np.full((40, 50, 3), level, np.uint8) for level in levels]


def at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(call) for call in calls]]


# Memory


def test_what_fails_by_itself_is_tried_once():
    tries, freed = [], []

    def fail():
        tries.append(1)
        raise torch.OutOfMemoryError

    assert MemoryGate(lambda: freed.append(1)).tried(fail) is None
    assert (tries, freed) == ([1], [1])


def test_what_fails_in_company_is_tried_again_by_itself_and_so_is_all_that_follows():
    gate = MemoryGate(lambda: None)
    inside = threading.Event()
    failed = threading.Event()
    lock = threading.Lock()
    now, most = 0, 0

    def long():
        inside.set()
        assert failed.wait(PATIENCE)
        return "long"

    def greedy():
        nonlocal now, most
        if not failed.is_set():
            assert inside.wait(PATIENCE)
            failed.set()
            raise torch.OutOfMemoryError
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return "greedy"

    assert at_once(lambda: gate.tried(long), lambda: gate.tried(greedy)) == ["long", "greedy"]
    assert at_once(*[lambda: gate.tried(greedy)] * 6) == ["greedy"] * 6
    assert most == 1


def test_other_troubles_leave_the_gate_open():
    gate = MemoryGate(lambda: None)
    with pytest.raises(KeyError):
        gate.tried(lambda: {}[1])
    assert gate.tried(lambda: 1) == 1


def test_memory_that_another_batch_holds_neither_halves_a_batch_nor_costs_a_picture():
    in_network = threading.Event()
    refused = threading.Event()

    class Slow(Constant):
        def forward(self, pixel_values):
            if not refused.is_set():
                in_network.set()
                assert refused.wait(PATIENCE)
            return super().forward(pixel_values)

    def upload(number):
        if number == 3:  # of the other thread: the first holds its two pictures
            assert in_network.wait(PATIENCE)
            refused.set()
            raise torch.OutOfMemoryError

    runner = runner_on(Slow(), Accelerator(upload))

    def second():
        assert in_network.wait(PATIENCE)
        return runner.predict(greys(30, 40))

    results = at_once(lambda: runner.predict(greys(10, 20)), second)
    assert all(isinstance(matte, Matte) for mattes in results for matte in mattes)
    assert runner.batch_size == 2


# Batches side by side


def test_a_batch_is_staged_while_the_network_is_busy_with_another():
    staged = threading.Event()

    class Waiting(Constant):
        def forward(self, pixel_values):
            assert staged.wait(PATIENCE), "the second batch was not staged meanwhile"
            return super().forward(pixel_values)

    runner = runner_on(Waiting(), Accelerator(lambda number: number == 4 and staged.set()))
    at_once(lambda: runner.predict(greys(1, 2)), lambda: runner.predict(greys(3, 4)))


def test_mattes_come_back_in_the_pictures_own_sizes():
    picture = photograph("chelsea")
    for size in ((20, 30), (300, 200)):
        (matte,) = runner_on(Constant(-3.0), Accelerator()).predict([picture[: size[0], : size[1]]])
        assert matte.alpha.shape == size
        assert np.unique(matte.alpha).tolist() == [round(255 / (1 + np.exp(3)))]


def test_no_number_is_repaired_or_refused_with_two_batches_under_way():
    network = Overflowing(torch.nan)
    runner = runner_on(network, Accelerator(), torch.bfloat16)
    levels = [(255, 128), (0, 128), (128, 255), (128, 0)] * 3
    results = at_once(*[lambda pair=pair: runner.predict(greys(*pair)) for pair in levels])
    for pair, mattes in zip(levels, results, strict=True):
        for level, matte in zip(pair, mattes, strict=True):
            assert getattr(matte, "kind", "matte") == ("matte" if level else "not_finite")
    assert network.weight.dtype == torch.bfloat16


class Levels:
    """An engine like a CUDA one: two batches at a time; a picture's alpha is its first level."""

    parallel, batch_size, refines = 2, 3, False

    def __init__(self, **options):
        self.options = options
        self._both = threading.Barrier(2)
        self._first = True

    def load(self):
        pass

    def predict(self, pictures):
        if self._first:
            self._both.wait(PATIENCE)  # until two batches are here
            self._first = False
        return [
            EngineError("dark", "level 0")
            if not picture[0, 0, 0]
            else np.full((4, 4), picture[0, 0, 0] / 255, np.float32)
            for picture in pictures
        ]


def png(array):
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_two_batches_at_the_engine_come_out_in_order_with_their_errors():
    levels = [10, 0, 30, 40, 50, 60, 0, 80, 90, 100, 110]
    records = [
        ImageRecord(str(level), png(picture), row=row)
        for row, (level, picture) in enumerate(zip(levels, greys(*levels), strict=True))
    ]
    results = list(cut_out(records, LoadedEngine(Levels(), "levels"), ChainSettings()))
    assert [result.record.row for result in results] == list(range(len(levels)))
    for level, result in zip(levels, results, strict=True):
        if level == 0:
            assert isinstance(result, Failure)
            assert result.error.kind == "dark"
        else:
            assert isinstance(result, Cutout)
            assert np.asarray(Image.open(BytesIO(result.image)))[0, 0, 3] == level


# Foreground colours


class Refining:
    """Soft discs, and colours from the device, as `--engine test_device_overlap:Refining`."""

    parallel, batch_size, refines = 2, 4, True

    def __init__(self, **options):
        self.options = options
        self.refined = []

    def load(self):
        gate = MemoryGate(lambda: None)
        self._refiner = DeviceRefiner(Transfers(CPU), gate, threading.Lock())

    def predict(self, pictures):
        return [disc(*picture.shape[:2]) for picture in pictures]

    def refine(self, pictures, alphas):
        if any(picture.shape[1] == 33 for picture in pictures):
            raise EngineError("odd", "33 pixels wide")
        self.refined.append([alpha.copy() for alpha in alphas])
        return self._refiner.refine(pictures, alphas)


class OnCores(Refining):
    refines = False


def see_through(width):
    """Gives an RGBA picture whose left half is half transparent."""
    rgb = photograph("chelsea")[60:120, 100 : 100 + width]
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, : width // 2] = 128
    return np.dstack((rgb, alpha))


@pytest.mark.parametrize(
    "settings",
    [
        ComposeSettings(refine_foreground=True),
        ComposeSettings(refine_foreground=True, preserve_alpha=True, alpha_threshold=0.5),
        ComposeSettings(refine_foreground=True, crop_to_bbox=True, save_mask=True),
    ],
    ids=("plain", "preserved and hard", "cropped"),
)
def test_colours_from_the_device_are_those_of_a_core(settings):
    records = [
        ImageRecord(str(width), png(see_through(width)), row=row)
        for row, width in enumerate((40, 64, 40, 50, 64))
    ]
    chain = ChainSettings(compose=settings)
    engine = Refining()
    ours = list(cut_out(records, LoadedEngine(engine, "device"), chain))
    theirs = list(cut_out(records, LoadedEngine(OnCores(), "cores"), chain))
    assert len(engine.refined) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, Cutout)
        assert isinstance(other, Cutout)
        assert (one.stats, one.mask, one.record) == (other.stats, other.mask, other.record)
        here, there = (np.asarray(Image.open(BytesIO(result.image))) for result in (one, other))
        assert np.array_equal(here[..., 3], there[..., 3])
        assert np.abs(here.astype(int) - there).max() <= 1


def test_one_picture_that_cannot_be_refined_is_one_error_row(tmp_path):
    for width in (32, 33, 34):
        Image.fromarray(photograph("chelsea")[:30, :width]).save(tmp_path / f"{width}.png")
    flags = ["--refine_foreground", "--no_report", "--engine", "test_device_overlap:Refining"]
    assert run(f"{tmp_path}/*.png", tmp_path / "out", engine=flags) == 0
    assert [row["width"] for row in rows_of(tmp_path / "out")] == [32, 34]
    (row,) = errors_of(tmp_path / "out")
    assert (row["error"], row["stage"]) == ("odd", "engine")


def test_colours_that_exceed_the_memory_are_made_in_halves_and_one_picture_is_its_error(
    monkeypatch,
):
    from alphabeam.transforms.engines import device_refiner

    sizes = []
    whole = device_refiner.refine_foreground_batch

    def limited(rgb, alpha):
        sizes.append(tuple(rgb.shape[:2]))
        if len(rgb) > 2 or rgb.shape[1] > 50:
            raise torch.OutOfMemoryError
        return whole(rgb, alpha)

    monkeypatch.setattr(device_refiner, "refine_foreground_batch", limited)
    refiner = DeviceRefiner(Transfers(CPU), MemoryGate(lambda: None), threading.Lock())
    pictures = [*greys(1, 2, 3, 4), np.zeros((60, 20, 3), np.uint8)]
    alphas = [np.full(picture.shape[:2], 100, np.uint8) for picture in pictures]
    refined = refiner.refine(pictures, alphas)
    assert sizes == [(4, 40), (2, 40), (2, 40), (1, 60)]
    assert [one.shape for one in refined[:4]] == [(40, 50, 3)] * 4
    assert isinstance(refined[4], EngineError)
    assert refined[4].kind == "out_of_memory"
    assert "20×60" in refined[4].message

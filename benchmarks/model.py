"""Times BiRefNet on the device at hand; apache_beam is not needed.

    python benchmarks/model.py                                  Swin-T and -L, what fits the device
    python benchmarks/model.py --backbone t --compile           also under torch.compile
    python benchmarks/model.py --check FOLDER                   first, parity with reference outputs

On a CPU a plain eager implementation (`plain_birefnet.py`) runs in turn with it, and the ratio of
their times is printed; with `--threads 1` the core seconds hold on a busy machine, too. Weights are
random: time does not depend on them. "Share" is the rate of the model's operations
(`model_flops.py`) by that of one large matrix product, measured at the start.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import model_check  # noqa: E402
import plain_birefnet  # noqa: E402
from model_flops import model_flops  # noqa: E402

from transforms.engines.birefnet import BiRefNet, BiRefNetConfig  # noqa: E402

BACKBONES = {
    "t": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "window": 7},
    "l": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "window": 12},
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; what is not given follows from the device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES)
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--size", type=int, default=1024, help="side of the picture")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs; the median counts")
    parser.add_argument("--compile", nargs="?", const="reduce-overhead", help="torch.compile mode")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="folder of the parity kit")
    options = parser.parse_args(arguments)
    on_cpu = options.device == "cpu"
    options.dtype = options.dtype or (["fp32"] if on_cpu else ["bf16", "fp32"])
    options.batch = options.batch or ([1] if on_cpu else [1, 2, 4, 8, 16])
    options.plain = on_cpu if options.plain is None else options.plain
    return options


def wait(device: str) -> None:
    """Waits until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class Taken(NamedTuple):
    """Seconds of one run: by the clock, and of all the process's CPU cores."""

    clock: float
    cores: float


def seconds(run: Callable[[], object], device: str) -> Taken:
    """Times one run."""
    wait(device)
    clock, cores = time.perf_counter(), time.process_time()
    run()
    wait(device)
    return Taken(time.perf_counter() - clock, time.process_time() - cores)


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Measures operations a second of one large product of random matrices."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = [seconds(lambda: a @ b, device).clock for _ in range(8)]
    return 2 * side**3 / min(times)


def reset_peak(device: str) -> None:
    """Starts the measurement of peak memory anew."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_gigabytes(device: str) -> float:
    """Gives the most memory held since `reset_peak`: the device's, or the process's on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


def contestants(
    backbone: str, options: argparse.Namespace, dtype: torch.dtype
) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Builds the models that are timed, by name."""
    torch.manual_seed(0)
    model = BiRefNet(BiRefNetConfig(**BACKBONES[backbone])).to(options.device)
    runs: dict[str, Callable[[Tensor], Tensor]] = {}
    if options.plain:
        weights = {
            name: tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
            for name, tensor in model.state_dict().items()
        }
        runs["plain"] = lambda x: plain_birefnet.logits(weights, x)
    model.fuse().to(dtype)
    runs["eager"] = lambda x: model(x).logits
    if options.compile:
        compiled = torch.compile(model, mode=options.compile)
        runs["compiled"] = lambda x: compiled(x).logits
    return runs


def measure(backbone: str, options: argparse.Namespace, name: str, rate: float) -> None:
    """Times one backbone in one dtype at every batch size and prints a line each."""
    runs = contestants(backbone, options, DTYPES[name])
    config = BACKBONES[backbone]
    operations = model_flops(
        options.size, options.size, config["embed_dim"], config["depths"], config["window"]
    )
    for batch in options.batch:
        shape = (batch, 3, options.size, options.size)
        x = torch.randn(shape, device=options.device).to(DTYPES[name])
        peaks = {kind: warm_up(run, x, options.device) for kind, run in runs.items()}
        turns = [take_turns(runs, x, options.device) for _ in range(options.rounds)]
        for kind in runs:
            taken = statistics.median(turn[kind].clock for turn in turns) / batch
            cores = statistics.median(turn[kind].cores for turn in turns) / batch
            print(
                f"swin-{backbone}  {name}  {kind:8}  batch {batch:2}"
                f"  {1000 * taken:9.2f} ms/picture  {1 / taken:8.2f} images/s"
                f"  {cores:6.2f} core seconds"
                f"  {peaks[kind]:6.2f} GB  share {operations / taken / rate:5.1%}",
                flush=True,
            )
        for kind in runs.keys() - {"plain"} if options.plain else ():
            by_clock = ratios([(turn[kind].clock, turn["plain"].clock) for turn in turns])
            by_cores = ratios([(turn[kind].cores, turn["plain"].cores) for turn in turns])
            print(
                f"          {kind} takes {by_clock} of plain's time, {by_cores} of its core seconds"
            )


def ratios(pairs: list[tuple[float, float]]) -> str:
    """Gives the median and the range of some quotients."""
    each = sorted(one / other for one, other in pairs)
    return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def warm_up(run: Callable[[Tensor], Tensor], x: Tensor, device: str) -> float:
    """Runs until all that is compiled and tuned at first is done; gives the peak memory after."""
    for _ in range(3 if device.startswith("cuda") else 1):
        run(x)
    reset_peak(device)
    run(x)
    wait(device)
    return peak_gigabytes(device)


def take_turns(
    runs: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor, device: str
) -> dict[str, Taken]:
    """Times every contestant once, one after the other."""
    return {kind: seconds(lambda run=run: run(x), device) for kind, run in runs.items()}


@torch.inference_mode()
def main() -> int:
    """Runs what the command line asks for."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    on_cuda = options.device.startswith("cuda")
    what = torch.cuda.get_device_name(options.device) if on_cuda else "CPU"
    print(f"{what}, torch {torch.__version__}, {torch.get_num_threads()} threads, {options.size}²")
    if options.check and not model_check.agrees(options.check, options.device, options.backbone):
        return 1
    torch.backends.cudnn.benchmark = True
    for name in options.dtype:
        rate = matrix_rate(options.device, DTYPES[name])
        print(f"{name}: one large matrix product runs at {rate / 1e12:.3f} TFLOP/s", flush=True)
        for backbone in options.backbone:
            measure(backbone, options, name, rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())

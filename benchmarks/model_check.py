"""Checks BiRefNet on a device against the parity kit, and the Triton kernels against PyTorch.

    python benchmarks/model_check.py FOLDER [--device cuda] [--backbone t l]
    TRITON_INTERPRET=1 python benchmarks/model_check.py --kernels      without a GPU, slowly

FOLDER holds the kit: `weights_rule.py`, `keys_swin_*.json` and the `*.npz` reference outputs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from transforms.engines import deform, window_attention  # noqa: E402
from transforms.engines.birefnet import BiRefNet, BiRefNetConfig  # noqa: E402
from transforms.engines.weights import load_exactly  # noqa: E402


def load_rule(kit: Path) -> ModuleType:
    """Imports the kit's weight generator from its folder."""
    spec = importlib.util.spec_from_file_location("weights_rule", kit / "weights_rule.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{kit} holds no weights_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def limits(device: str, large: bool) -> Iterator[tuple[torch.dtype, str, float]]:
    """Yields dtype, measure and limit: the largest error of logits, or rms error by their std."""
    yield torch.float32, "max", 4e-4 if large else 1e-4
    if device.startswith("cuda"):
        yield torch.bfloat16, "rms", 0.10 if large else 0.05
        yield torch.float16, "rms", 0.02


def agrees(kit: Path, device: str, backbones: Sequence[str]) -> bool:
    """Compares the fused model with every reference output of the kit and prints the errors."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rule = load_rule(kit)
    good = True
    for backbone in backbones:
        keys = json.loads((kit / f"keys_swin_{backbone}.json").read_text())
        state = {k: torch.from_numpy(np.asarray(v)) for k, v in rule.state_dict(keys).items()}
        shapes = {name: tensor.shape for name, tensor in state.items()}
        for order in ("rmbg2", "birefnet"):
            with torch.device("meta"):
                model = BiRefNet(BiRefNetConfig.from_shapes(shapes, order))
            load_exactly(model, state, kit)
            model.fuse().to(device)
            cases = sorted(kit.glob(f"{order}_swin_{backbone}_*.npz"))
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                model.to(dtype)
                for case in cases:
                    good &= case_agrees(model, rule, case, device, dtype)
    return good


def case_agrees(
    model: BiRefNet, rule: ModuleType, case: Path, device: str, dtype: torch.dtype
) -> bool:
    """Compares one reference output in one dtype; 16-bit ones only on CUDA."""
    limit = {d: (m, v) for d, m, v in limits(device, "1024x1024" in case.stem)}.get(dtype)
    if limit is None:
        return True
    batch, height, width = map(int, case.stem.split("_")[-1].split("x"))
    image = torch.from_numpy(rule.image(batch, height, width)).to(device, dtype)
    got = model(image).logits.float().cpu()
    with np.load(case) as stored:
        if "logits" in stored:
            difference, spread = got.numpy() - stored["logits"], stored["logits"].std()
        else:
            samples, stride = stored["s/logits"], int(stored["i/logits"][-1])
            difference = got.flatten()[::stride][: len(samples)].numpy() - samples
            spread = samples.std()
    measure, most = limit
    rms = float(np.sqrt((difference**2).mean()) / spread)
    error = float(np.abs(difference).max()) if measure == "max" else rms
    good = error <= most
    verdict = "agrees" if good else "DISAGREES"
    print(f"{case.stem}  {dtype}  {measure} error {error:.2e} of {most:.0e}  {verdict}", flush=True)
    return good


def kernels_agree(device: str, dtype: torch.dtype) -> bool:
    """Compares both Triton kernels with PyTorch's own operations on odd sizes."""
    from transforms.engines import deform_triton, window_attention_triton

    if "TRITON_INTERPRET" in os.environ:
        for module in (deform_triton, window_attention_triton):
            module.tuned_kernel.configs = module.CONFIGS[-1:]
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(shape, generator=generator)).to(device, dtype)

    good = True
    for batch, height, width in ((1, 9, 14), (2, 5, 7)):
        size = batch, height, width
        arguments = (noise(*size, 64), noise(*size, 40, scale=3), noise(*size, 152, scale=3))
        arguments += (noise(60, 64, 256, scale=0.05), noise(4, 256, scale=0.1))
        arguments += (noise(4, 256, 64, scale=0.06), noise(batch, 64))
        exact = deform.deform_context_plain(*(argument.float() for argument in arguments))
        good &= close(f"context {size}", deform_triton.deform_context_triton(*arguments), exact)
        for window, shift in ((7, 3), (7, 0), (12, 6)):
            heads, places = 3, window * window
            channels = 32 * heads
            bias = torch.nn.functional.pad(noise(heads, places, places), (0, -places % 8))
            weights = (noise(3 * channels, channels, scale=0.1), noise(3 * channels))
            weights += (noise(channels, channels, scale=0.1), noise(channels), bias)
            x = noise(batch, height, width, channels)
            exact = window_attention.window_attention_plain(
                x.float(), *(w.float() for w in weights), window, shift
            )
            got = window_attention_triton.window_attention_triton(x, *weights, window, shift)
            good &= close(f"window {window} shift {shift} {size}", got, exact)
    return good


def close(name: str, got: Tensor, exact: Tensor) -> bool:
    """Prints how far a 16-bit result is from the exact one."""
    error = float((got.float() - exact).square().mean().sqrt() / exact.std())
    good = error <= 0.01
    print(f"{name}  {got.dtype}  rms error {error:.1e}  {'agrees' if good else 'DISAGREES'}")
    return good


@torch.inference_mode()
def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kit", type=Path, nargs="?", help="folder of the parity kit")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", nargs="+", choices=("t", "l"), default=["t", "l"])
    parser.add_argument("--kernels", action="store_true", help="check the Triton kernels")
    options = parser.parse_args()
    good = True
    if options.kernels:
        interpreted = "TRITON_INTERPRET" in os.environ
        for dtype in (torch.float16,) if interpreted else (torch.float16, torch.bfloat16):
            good &= kernels_agree(options.device, dtype)
    if options.kit:
        good &= agrees(options.kit, options.device, options.backbone)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

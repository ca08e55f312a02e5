"""The Triton kernels compile for GPUs that are not here and fit them; run by `make kernels`."""

from __future__ import annotations

from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from alphabeam.transforms.engines import deform, deform_triton, window_attention_triton

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227}
"""Shared memory that one block may have, by compute capability (CUDA C++ Programming Guide,
"Technical Specifications per Compute Capability")."""

CONTEXT = {
    "small_stride": 40,
    "large_stride": 152,
    "small_taps": deform.SMALL_TAPS,
    "large_taps": deform.LARGE_TAPS,
    "channels": 64,
    "outputs": 256,
}


def shared_kib(
    kernel: Any, numbers: str, config: Any, constants: dict[str, int], gpu: int
) -> float:
    """Compiles a kernel down to the GPU's own instructions; gives the shared memory it takes."""
    constants = {**constants, **config.kwargs}
    kinds = {"scale": "fp32"}
    signature = {
        name: "constexpr"
        if name in constants
        else f"*{numbers}"
        if name.endswith("_ptr")
        else kinds.get(name, "i32")
        for name in kernel.arg_names
    }
    places = {name: (index,) for index, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        signature,
        constexprs={places[name]: value for name, value in constants.items()},
        attrs={places[n]: [["tt.divisibility", 16]] for n in signature if n.endswith("_ptr")},
    )
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", gpu, 32),
        options={"num_warps": config.num_warps, "num_stages": config.num_stages},
    )
    assert compiled.asm["cubin"]
    return compiled.metadata.shared / 1024


@pytest.mark.parametrize(
    ("gpu", "config", "numbers"),
    [(80, 0, "bf16"), (86, 1, "fp16"), (89, 1, "bf16"), (90, 0, "bf16"), (90, 2, "fp16")],
)
def test_the_context_compiles_and_fits(gpu: int, config: int, numbers: str) -> None:
    chosen = deform_triton.CONFIGS[config]
    need = shared_kib(deform_triton.context_kernel, numbers, chosen, CONTEXT, gpu)
    assert need <= SHARED_KIB[gpu]


@pytest.mark.parametrize("gpu", SHARED_KIB)
@pytest.mark.parametrize("window", [7, 12])
def test_attention_compiles_and_fits(gpu: int, window: int) -> None:
    pitch = -(-window * window // 8) * 8
    constants = {"features": 32, "window": window, "pitch": pitch}
    for config, numbers in zip(
        window_attention_triton.CONFIGS, ("bf16", "fp16", "bf16"), strict=True
    ):
        kernel = window_attention_triton.attention_kernel
        assert shared_kib(kernel, numbers, config, constants, gpu) <= SHARED_KIB[gpu]

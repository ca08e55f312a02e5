"""The Triton kernels agree with PyTorch's own operations; run by `make kernels` on any machine.

Triton's interpreter, TRITON_INTERPRET=1, runs them on a CPU. It knows no bfloat16 products, so
float32 shows that they compute the same, and float16 that rounding does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alphabeam.transforms.engines import deform, deform_triton
from alphabeam.transforms.engines import window_attention as attention
from alphabeam.transforms.engines import window_attention_triton as attention_triton

Noise = Callable[..., Tensor]


@pytest.fixture
def noise() -> Noise:
    generator = torch.Generator().manual_seed(5)
    return lambda *shape, scale=1.0: scale * torch.randn(shape, generator=generator)


@pytest.fixture(autouse=True)
def smallest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes one configuration, so that none is measured; some tests take another one."""
    monkeypatch.setattr(deform_triton.tuned_kernel, "configs", deform_triton.CONFIGS[-1:])
    monkeypatch.setattr(attention_triton.tuned_kernel, "configs", attention_triton.CONFIGS[-1:])


def assert_agree(got: Tensor, exact: Tensor) -> None:
    """Compares with a result in float32; 16-bit ones by the size of their error as a whole."""
    assert got.shape == exact.shape
    if got.dtype == torch.float32:
        torch.testing.assert_close(got, exact, atol=1e-4, rtol=1e-4)
    else:
        assert (got.float() - exact).square().mean().sqrt() <= 2e-3 * exact.std()


def context_arguments(
    noise: Noise, batch: int, height: int, width: int, reach: float
) -> list[Tensor]:
    """Makes what `deform_context` takes, with offsets about as long as `reach`, pixels."""
    small = noise(batch, height, width, 40)
    large = noise(batch, height, width, 152)
    small[..., :22] *= reach
    large[..., :98] *= reach
    return [
        noise(batch, height, width, 64),
        small,
        large,
        noise(60, 64, 256, scale=0.05),
        noise(4, 256, scale=0.1),
        noise(4, 256, 64, scale=0.06),
        noise(batch, 64),
    ]


def context_agrees(arguments: list[Tensor], dtype: torch.dtype) -> None:
    given = [argument.to(dtype) for argument in arguments]
    exact = deform.deform_context_plain(*(argument.float() for argument in given))
    assert_agree(deform_triton.deform_context_triton(*given), exact)


@pytest.mark.parametrize(
    ("config", "size", "dtype"),
    [
        (0, (1, 1, 1), torch.float32),
        (0, (2, 7, 9), torch.float16),
        (1, (3, 8, 8), torch.float32),
        (2, (1, 9, 14), torch.float32),
    ],
)
def test_the_context_is_pytorchs_at_any_size(
    noise: Noise,
    config: int,
    size: tuple[int, int, int],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deform_triton.tuned_kernel, "configs", [deform_triton.CONFIGS[config]])
    context_agrees(context_arguments(noise, *size, reach=3.0), dtype)


@pytest.mark.parametrize("reach", [0.0, 30.0, 1e30])
def test_readings_from_anywhere_are_pytorchs(noise: Noise, reach: float) -> None:
    context_agrees(context_arguments(noise, 2, 4, 7, reach), torch.float32)


def test_coordinates_are_float32_far_from_the_origin(
    noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deform_triton.tuned_kernel, "configs", deform_triton.CONFIGS[:1])
    arguments = context_arguments(noise, 1, 1, 640, reach=0.5)  # float16 has the halves of these
    context_agrees(arguments, torch.float16)


def test_memory_of_another_order_is_read_right(noise: Noise) -> None:
    arguments = context_arguments(noise, 2, 6, 5, reach=2.0)
    arguments[0] = noise(2, 64, 6, 5).permute(0, 2, 3, 1)
    arguments[3] = noise(256, 64, 60, scale=0.05).permute(2, 1, 0)
    context_agrees(arguments, torch.float32)


@pytest.mark.parametrize("where", range(7))
def test_what_is_not_a_number_spoils_what_it_reaches(noise: Noise, where: int) -> None:
    arguments = context_arguments(noise, 1, 6, 5, reach=0.0)
    hurt = arguments[where]
    hurt.view(-1)[0] = torch.nan
    exact = deform.deform_context_plain(*arguments)
    got = deform_triton.deform_context_triton(*arguments)
    assert exact.isnan().any()
    assert torch.equal(got.isnan(), exact.isnan())


@pytest.mark.parametrize(
    ("config", "window", "shift", "size", "dtype"),
    [
        (0, 7, 0, (1, 9, 14), torch.float32),
        (1, 7, 3, (2, 8, 9), torch.float32),
        (2, 7, 3, (1, 3, 2), torch.float16),
        (0, 12, 6, (2, 13, 12), torch.float32),
        (1, 12, 0, (1, 12, 12), torch.float16),
        (2, 4, 2, (3, 1, 9), torch.float32),
    ],
)
def test_attention_is_pytorchs_at_any_size(
    noise: Noise,
    config: int,
    window: int,
    shift: int,
    size: tuple[int, int, int],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = [attention_triton.CONFIGS[config]]
    monkeypatch.setattr(attention_triton.tuned_kernel, "configs", chosen)
    heads, places = 2, window * window
    channels = 32 * heads
    arguments = [
        noise(*size, channels),
        noise(3 * channels, channels, scale=0.15),
        noise(3 * channels),
        noise(channels, channels, scale=0.1),
        noise(channels),
        functional.pad(noise(heads, places, places), (0, -places % 8)),
    ]
    given = [argument.to(dtype) for argument in arguments]
    exact = attention.window_attention_plain(*(part.float() for part in given), window, shift)
    assert_agree(attention_triton.window_attention_triton(*given, window, shift), exact)


def test_attention_keeps_what_is_not_a_number(noise: Noise) -> None:
    x = noise(1, 8, 8, 32)
    x[0, 0, 0, 0] = torch.nan
    weights = [noise(96, 32, scale=0.15), noise(96), noise(32, 32), noise(32), noise(1, 16, 16)]
    exact = attention.window_attention_plain(x, *weights, 4, 0)
    got = attention_triton.window_attention_triton(x, *weights, 4, 0)
    assert exact.isnan().any()
    assert torch.equal(got.isnan(), exact.isnan())

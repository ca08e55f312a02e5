"""Window attention and deformable convolution agree with their definitions at any size."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphabeam.transforms.engines import deform, kernels, window_attention

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attend_by_definition(
    x: Tensor, qkv_weight: Tensor, qkv_bias: Tensor, bias: Tensor, window: int, shift: int
) -> Tensor:
    """Pads, rolls and attends window by window, one pair of places at a time for the mask."""
    batch, height, width, channels = x.shape
    heads = bias.shape[0]
    rows, columns = math.ceil(height / window) * window, math.ceil(width / window) * window
    padded = x.new_zeros(batch, rows, columns, channels)
    padded[:, :height, :width] = x
    rolled = torch.roll(padded, (-shift, -shift), (1, 2))
    result = torch.zeros_like(rolled)
    places = [(i, j) for i in range(window) for j in range(window)]

    def band(at: int, extent: int) -> int:
        return 0 if at < extent - window else 1 if at < extent - shift else 2

    for top in range(0, rows, window):
        for left in range(0, columns, window):
            label = [(band(top + i, rows), band(left + j, columns)) for i, j in places]
            forbidden = torch.tensor([[a != b for b in label] for a in label])
            tokens = torch.stack([rolled[:, top + i, left + j] for i, j in places], 1)
            qkv = tokens @ qkv_weight.t() + qkv_bias
            q, k, v = qkv.view(batch, len(places), 3, heads, -1).permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-1, -2) / math.sqrt(channels // heads) + bias
            if shift:
                scores = scores.masked_fill(forbidden, -100.0)
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
            for n, (i, j) in enumerate(places):
                result[:, top + i, left + j] = mixed[:, n]
    return torch.roll(result, (shift, shift), (1, 2))[:, :height, :width]


@given(
    batch=st.integers(1, 2),
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    window=st.sampled_from([2, 3, 4]),
    shifted=st.booleans(),
    chunk=st.sampled_from([1, 300, 1 << 20]),
)
@settings(deadline=None, max_examples=60)
def test_window_attention_follows_its_definition(
    batch: int, height: int, width: int, window: int, shifted: bool, chunk: int
) -> None:
    heads, channels, places = 2, 8, window * window
    shift = window // 2 if shifted else 0
    x = noise(1, batch, height, width, channels)
    qkv_weight, qkv_bias = noise(2, 3 * channels, channels), noise(3, 3 * channels)
    bias = noise(4, heads, places, places)
    filled = torch.nn.functional.pad(bias, (0, -places % 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_attention, "CPU_CHUNK", chunk)
        got = window_attention.window_attention(
            x,
            qkv_weight,
            qkv_bias,
            torch.eye(channels),
            torch.zeros(channels),
            filled,
            window,
            shift,
        )
    expected = attend_by_definition(x, qkv_weight, qkv_bias, bias, window, shift)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    window=st.integers(1, 7),
    shifted=st.booleans(),
    at_once=st.integers(1, 50),
)
@settings(deadline=None, max_examples=60)
def test_every_token_is_in_exactly_one_window(
    height: int, width: int, window: int, shifted: bool, at_once: int
) -> None:
    groups = window_attention.window_groups(
        2, height, width, window, window // 2 if shifted else 0, at_once, torch.device("cpu")
    )
    tokens = torch.cat([group.tokens for group in groups])
    assert tokens.sort().values.tolist() == list(range(2 * height * width))
    assert sum(g.count for g in groups) == 2 * -(-height // window) * -(-width // window)
    assert max(g.count for g in groups) <= at_once


def read(x: Tensor, y: float, column: float) -> Tensor:
    """Reads (H, W, C) bilinearly with zeros outside."""
    height, width, channels = x.shape
    top, left = math.floor(y), math.floor(column)
    value = torch.zeros(channels, dtype=x.dtype)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        if 0 <= top + i < height and 0 <= left + j < width:
            share = (1 - abs(y - top - i)) * (1 - abs(column - left - j))
            value += share * x[top + i, left + j]
    return value


def convolve_by_definition(x: Tensor, offset: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Sums over taps, one pixel and one tap at a time, in float64."""
    x, offset, scale, weight = (t.double() for t in (x, offset, scale, weight))
    batch, height, width, _ = x.shape
    taps, _, outputs = weight.shape
    kernel = math.isqrt(taps)
    result = x.new_zeros(batch, height, width, outputs)
    for b, y, column, tap in torch.cartesian_prod(
        *(torch.arange(n) for n in (batch, height, width, taps))
    ).tolist():
        dy, dx = offset[b, y, column, 2 * tap : 2 * tap + 2].tolist()
        at_y = y - kernel // 2 + tap // kernel + dy
        at_x = column - kernel // 2 + tap % kernel + dx
        value = scale[b, y, column, tap] * read(x[b], at_y, at_x)
        result[b, y, column] += value @ weight[tap]
    return result


@given(
    batch=st.integers(1, 2),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    kernel=st.sampled_from([1, 3]),
    reach=st.sampled_from([0.0, 0.7, 5.0, 1e6]),
    chunk=st.sampled_from([1, 100, 1 << 20]),
)
@settings(deadline=None, max_examples=50)
def test_deformable_convolution_follows_its_definition(
    batch: int, height: int, width: int, kernel: int, reach: float, chunk: int
) -> None:
    taps = kernel * kernel
    x = noise(1, batch, height, width, 4)
    offset = noise(2, batch, height, width, 2 * taps, scale=reach)
    scale = 2 * noise(3, batch, height, width, taps).sigmoid()
    weight = noise(4, taps, 4, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deform, "CPU_CHUNK", chunk)
        got = deform.deform_conv(x, offset, scale, weight)
    expected = convolve_by_definition(x, offset, scale, weight).float()
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


@given(batch=st.integers(1, 2), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_the_fused_context_is_its_four_branches(batch: int, height: int, width: int) -> None:
    channels, outputs = 3, 6
    x = noise(1, batch, height, width, channels)
    small = noise(2, batch, height, width, 40, scale=2.0)
    large = noise(3, batch, height, width, 152, scale=2.0)
    weight, bias = noise(4, 60, channels, outputs), noise(5, 4, outputs)
    projection, pooled = noise(6, 4, outputs, channels), noise(7, batch, channels)
    got = deform.deform_context(x, small, large, weight, bias, projection, pooled)

    readings = [small[..., :33].unflatten(-1, (3, 11)), large[..., :147].unflatten(-1, (3, 49))]
    dy, dx, logit = torch.cat(readings, -1).unbind(-2)
    offset = torch.stack((dy, dx), -1)
    expected = pooled[:, None, None].expand_as(x)
    for branch, taps in enumerate((slice(0, 1), slice(1, 2), slice(2, 11), slice(11, 60))):
        inner = deform.deform_conv(
            x, offset[..., taps, :].flatten(-2), 2 * logit[..., taps].sigmoid(), weight[taps]
        )
        expected = expected + (inner + bias[branch]).relu() @ projection[branch]
    torch.testing.assert_close(got, expected.relu(), atol=1e-4, rtol=1e-4)


def test_coordinates_are_float32_under_bfloat16() -> None:
    x = noise(1, 1, 2, 300, 8).bfloat16()
    offset = noise(2, 1, 2, 300, 2).bfloat16()
    scale, weight = torch.ones(1, 2, 300, 1).bfloat16(), torch.eye(8)[None].bfloat16()
    got = deform.deform_conv(x, offset, scale, weight).float()
    exact = deform.deform_conv(x.float(), offset.float(), scale.float(), weight.float())
    torch.testing.assert_close(got, exact, atol=0.01, rtol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operations_are_registered_soundly(dtype: torch.dtype) -> None:
    x, square = noise(1, 1, 5, 6, 8).to(dtype), noise(2, 8, 8).to(dtype)
    line, wide = noise(3, 8).to(dtype), noise(4, 24, 8).to(dtype)
    bias = noise(5, 2, 9, 16).to(dtype)
    arguments = (x, wide, wide.flatten()[:24].clone(), square, line, bias, 3, 1)
    torch.library.opcheck(window_attention.window_attention, arguments)
    offset, scale = noise(6, 1, 5, 6, 18).to(dtype), noise(7, 1, 5, 6, 9).to(dtype)
    torch.library.opcheck(deform.deform_conv, (x, offset, scale, noise(8, 9, 8, 4).to(dtype)))
    shapes = [(1, 5, 6, 40), (1, 5, 6, 152), (60, 8, 4), (4, 4), (4, 4, 8), (1, 8)]
    rest = [noise(9 + i, *shape).to(dtype) for i, shape in enumerate(shapes)]
    torch.library.opcheck(deform.deform_context, (x, *rest))


@pytest.mark.parametrize(
    ("version", "expected"),
    [("3.2.0", False), ("3.4.0", True), ("3.10.1+git", True), ("4.0", True), (None, False)],
)
def test_a_triton_that_cannot_compile_the_kernels_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, version: str | None, expected: bool
) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise kernels.importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(kernels.importlib.metadata, "version", installed)
    assert kernels.has_triton.__wrapped__() is expected


@pytest.mark.parametrize(
    ("dtype", "capability", "expected"),
    [
        (torch.bfloat16, (8, 0), True),
        (torch.float16, (9, 0), True),
        (torch.float32, (9, 0), False),
        (torch.float16, (7, 5), False),
    ],
)
def test_the_kernels_serve_16_bit_numbers_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, capability: tuple, expected: bool
) -> None:
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert kernels.serves(torch.zeros(1, dtype=dtype)) is expected

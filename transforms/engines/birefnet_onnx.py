"""BiRefNet as an ONNX file: its two operations of our own in the terms of ONNX."""

# onnxscript's annotations describe tensors, while building a graph passes names and attributes.
# pyright: reportArgumentType=false
from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import onnx_ir
import torch
from onnxscript import opset20 as op

from .birefnet import BiRefNet

OPSET = 20
"""Of the file; DeformConv came with 19."""


def export_onnx(model: BiRefNet, path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Writes a file that gives logits (1, 1, H, W) for one normalised picture (1, 3, H, W).

    It runs as `--engine onnx --onnx_activation sigmoid` in an onnxruntime that has DeformConv.

    Args:
      model: not fused.
      path: of the file.
      size: height and width, multiples of 32.

    Raises:
      ValueError: the model is fused, so that its operations are no longer these.
    """
    if model.fused:
        raise ValueError("a fused BiRefNet cannot be exported: export it before fuse()")
    own = torch.ops.alphabeam
    table: dict[Callable[..., Any], Callable[..., Any]] = {
        own.deform_conv.default: deform_conv,
        own.window_attention.default: window_attention,
    }
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, *size),),
        path,
        input_names=["pixel_values"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        optimize=False,  # onnxruntime does, when it opens the file
        custom_translation_table=table,
        verbose=False,
    )


def deform_conv(x: Any, offset: Any, modulation: Any, weight: Any) -> Any:
    """Translates `deform.deform_conv`: shapes (B, H, W, C), (B, H, W, 2K), (B, H, W, K), (K, C, N)."""
    taps, inputs, outputs = weight.shape
    kernel = math.isqrt(taps)
    margin = kernel // 2
    square = op.Reshape(
        op.Transpose(weight, perm=[2, 1, 0]),
        op.Constant(value_ints=[outputs, inputs, kernel, kernel]),
    )
    result = op.DeformConv(
        op.Transpose(x, perm=[0, 3, 1, 2]),
        square,
        op.Transpose(offset, perm=[0, 3, 1, 2]),
        None,
        op.Transpose(modulation, perm=[0, 3, 1, 2]),
        kernel_shape=[kernel, kernel],
        pads=[margin] * 4,
    )
    return op.Transpose(result, perm=[0, 2, 3, 1])


def window_attention(
    x: Any,
    qkv_weight: Any,
    qkv_bias: Any,
    proj_weight: Any,
    proj_bias: Any,
    position_bias: Any,
    window: int,
    shift: int,
) -> Any:
    """Translates `window_attention.window_attention` of one picture.

    The map is padded to whole windows and rolled, which ONNX spells as a gather of rows.
    """
    from .window_attention import window_groups

    batch, height, width, channels = (int(side) for side in x.shape)
    heads, places, _ = (int(side) for side in position_bias.shape)
    rows = op.Reshape(x, _ints(-1, channels))
    bias = op.Slice(position_bias, _ints(0), _ints(places), _ints(2))
    result = op.Expand(op.Constant(value_float=0.0), _ints(batch * height * width, channels))
    groups = window_groups(batch, height, width, window, shift, batch * height * width, _CPU)
    for group in groups:
        tokens = _table(group.tokens.long())
        qkv = _linear(op.Gather(rows, tokens, axis=0), qkv_weight, qkv_bias)
        if group.slots is not None:
            slots = _table(group.slots[:, None])
            filled = op.Expand(qkv_bias, _ints(group.count * places, 3 * channels))
            qkv = op.ScatterND(filled, slots, qkv)
        parts = op.Reshape(qkv, _ints(group.count, places, 3, heads, channels // heads))
        parts = op.Transpose(parts, perm=[2, 0, 3, 1, 4])
        q, k, v = (op.Gather(parts, op.Constant(value_int=i), axis=0) for i in range(3))
        scale = op.Constant(value_float=(channels // heads) ** -0.5)
        scores = op.MatMul(op.Mul(q, scale), op.Transpose(k, perm=[0, 1, 3, 2]))
        scores = op.Add(scores, bias)
        if group.mask is not None:
            hidden = torch.zeros(group.mask.shape).masked_fill_(~group.mask, float("-inf"))
            scores = op.Add(scores, _table(hidden))
        mixed = op.Transpose(op.MatMul(op.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = op.Reshape(mixed, _ints(-1, channels))
        if group.slots is not None:
            mixed = op.Gather(mixed, _table(group.slots), axis=0)
        mixed = _linear(mixed, proj_weight, proj_bias)
        result = op.ScatterND(result, op.Unsqueeze(tokens, _ints(1)), mixed)
    return op.Reshape(result, _ints(batch, height, width, channels))


_CPU = torch.device("cpu")


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def _table(values: torch.Tensor) -> Any:
    return op.Constant(value=onnx_ir.tensor(values.numpy()))


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    return op.Add(op.MatMul(x, op.Transpose(weight, perm=[1, 0])), bias)

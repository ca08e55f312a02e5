"""Joining linear layers that follow one another, exactly: products in float64, rounded once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def constant(values: Tensor) -> nn.Parameter:
    """Makes a float32 parameter that takes no gradient."""
    return nn.Parameter(values.float().contiguous(), requires_grad=False)


def make_conv(weight: Tensor, bias: Tensor, dilation: int = 1) -> nn.Conv2d:
    """Makes a "same" convolution.

    Args:
      weight: shape (outputs, inputs, k, k), k odd.
      bias: shape (outputs,).
      dilation: distance of the kernel's taps.
    """
    outputs, inputs, kernel, _ = weight.shape
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, device="meta")
    conv.weight, conv.bias = constant(weight), constant(bias)
    return conv


def make_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Makes a linear layer of shape (outputs, inputs)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = constant(weight), constant(bias)
    return linear


def batchnorm_line(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gives scale and shift of a batch norm with stored statistics; float64, one a channel."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("the batch norm stores no statistics; only one that does can be folded")
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Gives a convolution's bias in float64, zeros where it has none."""
    if conv.bias is None:
        return torch.zeros(conv.out_channels, dtype=torch.float64)
    return conv.bias.double()


def fold_batchnorm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Joins a "same" convolution and the batch norm behind it."""
    scale, shift = batchnorm_line(norm)
    weight = conv.weight.double() * scale[:, None, None, None]
    return make_conv(weight, bias_of(conv) * scale + shift, conv.dilation[0])


def fold_mixing(conv: nn.Conv2d, mixing: Tensor) -> nn.Conv2d:
    """Joins a "same" convolution and a linear map of its channels.

    Args:
      conv: the convolution.
      mixing: float64, shape (outputs, channels).
    """
    weight = torch.einsum("oc,cikl->oikl", mixing, conv.weight.double())
    return make_conv(weight, mixing @ bias_of(conv))


def chain_convs(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Joins two "same" convolutions into one of their joint reach.

    The result agrees with the two wherever the second one does not reach beyond the map: outside,
    it pads with zeros, where the joint one sees what the first would have computed there.
    """
    weight = functional.conv_transpose2d(second.weight.double(), first.weight.double())
    bias = second.weight.double().sum((2, 3)) @ bias_of(first) + bias_of(second)
    return make_conv(weight, bias)

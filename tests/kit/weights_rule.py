"""Deterministic weights and inputs for parity tests without any checkpoint.

Everything is a pure function of (parameter name, shape, dtype, tag).  No RNG
library is involved: numbers come from splitmix64 counters, so any language can
reproduce them bit for bit.  See README.md for the rule in words.
"""

import hashlib

import numpy as np

_G = 0x9E3779B97F4A7C15
_M64 = (1 << 64) - 1


def stream(key: str, n: int, tag: str = "kit-1") -> np.ndarray:
    """n float64 values, uniform in [-1, 1), from (tag, key)."""
    seed = int.from_bytes(hashlib.sha256(f"{tag}|{key}".encode()).digest()[:8], "little")
    out = np.empty(n, np.float64)
    step = 1 << 22
    for a in range(0, n, step):
        b = min(n, a + step)
        with np.errstate(over="ignore"):
            z = np.arange(a + 1, b + 1, dtype=np.uint64)
            z *= np.uint64(_G)
            z += np.uint64(seed)
            z ^= z >> np.uint64(30)
            z *= np.uint64(0xBF58476D1CE4E5B9)
            z ^= z >> np.uint64(27)
            z *= np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        out[a:b] = (z >> np.uint64(11)).astype(np.float64) * (2.0 / 9007199254740992.0) - 1.0
    return out


# gain by key suffix/substring, first match wins; std of a weight = gain / sqrt(fan_in)
GAINS = [
    ("offset_conv.weight", 0.7),
    ("modulator_conv.weight", 0.8),
    ("relative_position_bias_table", None),
    ("attn.qkv.weight", 1.3),
    ("attn.proj.weight", 0.7),
    ("mlp.fc1.weight", 1.0),
    ("mlp.fc2.weight", 0.9),
    ("downsample.reduction.weight", 1.0),
    ("regular_conv.weight", 1.3),
    ("gdt_convs_attn", 1.5),
    ("gdt_convs", 1.4),
    ("dec_att.conv1.weight", 1.4),
    ("conv_out.weight", 1.2),
    ("conv_in.weight", 1.2),
    ("ipt_blk", 1.0),
    ("lateral_block", 1.0),
    ("conv_out1", 0.8),
    ("patch_embed.proj", 0.03),
]


def relative_position_index(ws: int) -> np.ndarray:
    i = np.arange(ws * ws)
    r, c = i // ws, i % ws
    return (
        (r[:, None] - r[None, :] + ws - 1) * (2 * ws - 1) + (c[:, None] - c[None, :] + ws - 1)
    ).astype(np.int64)


def tensor(key: str, shape, dtype: str = "float32", tag: str = "kit-1") -> np.ndarray:
    """The value of one state_dict entry."""
    shape = tuple(int(s) for s in shape)
    leaf = key.rsplit(".", 1)[-1]
    n = int(np.prod(shape)) if shape else 1
    if leaf == "relative_position_index":
        ws = round(shape[0] ** 0.5)
        return relative_position_index(ws)
    if leaf == "num_batches_tracked":
        return np.asarray(1, np.int64)
    u = stream(key, n, tag)
    if leaf == "running_var":
        v = 1.0 + 0.75 * u
    elif leaf == "running_mean":
        v = 0.3 * u
    elif leaf == "relative_position_bias_table" or (leaf == "bias" and "offset_conv" in key):
        v = 1.5 * u
    elif leaf == "bias" and "patch_embed.proj" in key:
        v = 0.02 * u
    elif leaf == "bias":
        v = 0.2 * u
    elif len(shape) == 1:  # LayerNorm / BatchNorm scale
        v = 1.0 + 0.3 * u
    else:  # linear / conv weight
        gain = 1.0
        for pat, g in GAINS:
            if pat in key:
                gain = g
                break
        fan_in = int(np.prod(shape[1:]))
        v = u * (3.0**0.5) * gain / fan_in**0.5
    return v.reshape(shape).astype(np.float32)


def state_dict(keys: dict, tag: str = "kit-1") -> dict:
    """keys: {name: [shape, dtype]} as in keys_*.json -> {name: ndarray}."""
    return {k: tensor(k, s, d, tag) for k, (s, d) in keys.items()}


def image(batch: int, height: int, width: int, tag: str = "kit-1") -> np.ndarray:
    """Normalised model input, float32 [batch, 3, height, width]."""
    out = np.zeros((batch, 3, height, width), np.float64)
    for cell, amp in ((32, 0.9), (8, 0.6), (2, 0.35), (1, 0.25)):
        gh, gw = -(-height // cell), -(-width // cell)
        g = stream(f"image/{batch}x{height}x{width}/cell{cell}", batch * 3 * gh * gw, tag).reshape(
            batch, 3, gh, gw
        )
        g = np.repeat(np.repeat(g, cell, 2), cell, 3)[:, :, :height, :width]
        out += amp * 1.5 * g
    return out.astype(np.float32)


def rgb8(height: int, width: int, tag: str = "kit-1") -> np.ndarray:
    """uint8 RGB picture [height, width, 3] for the end-to-end case."""
    x = image(1, height, width, tag + "/rgb")[0].transpose(1, 2, 0).astype(np.float64)
    return np.clip(np.floor(128.0 + 50.0 * x), 0, 255).astype(np.uint8)

"""ICC profiles for tests, built from numbers (ICC.1:2022)."""

from __future__ import annotations

import itertools
import struct

import numpy as np

# Columns are the primaries' XYZ, adapted to D50, as the profiles of their authors have them.
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
)
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
ADOBE_RGB = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
D50 = (0.9642, 1.0, 0.8249)


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def table_curve(values: np.ndarray) -> bytes:
    samples = np.round(np.asarray(values) * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + samples


def srgb_curve() -> bytes:
    return (
        b"para"
        + bytes(4)
        + struct.pack(">HH", 3, 0)
        + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    )


def profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Joins header and tags."""
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50), **tags}
    offset = 132 + 12 * len(tags)
    table, body = b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">II", offset + len(body), 0) + bytes((2, 64, 0, 0))
    header += kind + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += fixed(*D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries: np.ndarray, curve: bytes) -> bytes:
    tags = {}
    for name, column in zip((b"r", b"g", b"b"), primaries.T, strict=True):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*column)
        tags[name + b"TRC"] = curve
    return profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(curve: bytes) -> bytes:
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def cmyk_profile(black: float = 0.0) -> bytes:
    """Describes inks over L*a*b* corners, linear in between.

    White paper has L* = 100, full black L* = `black`; cyan, magenta and yellow darken by a third
    each and shift a* and b*.
    """
    corners = []
    for cyan, magenta, yellow, key in itertools.product((0, 1), repeat=4):
        lightness = 100 - 30 * (cyan + magenta + yellow)
        a, b = -30 * cyan + 60 * magenta, -40 * cyan + 70 * yellow
        if key:
            lightness, a, b = black, 0, 0
        corners.append((lightness / 100 * 0xFF00, (a + 128) * 256, (b + 128) * 256))
    linear = struct.pack(">HH", 0, 65535)
    table = b"mft2" + bytes(4) + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += struct.pack(">HH", 2, 2) + 4 * linear
    table += np.round(corners).astype(">u2").tobytes() + 3 * linear
    return profile(b"scnr", b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})

"""Subjects with known mattes and colours, cut out of real photographs or filled with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy import ndimage
from skimage import data
from sklearn.datasets import load_sample_image


@dataclass(frozen=True)
class Subject:
    """One subject.

    Attributes:
      photo: name of the photograph it shows.
      colours: uint8 (h, w, 3), carried on beyond its edge.
      alpha: float32 (h, w), 0..1.
      stands: whether it is cut off below and so has to reach a picture's lower border.
    """

    photo: str
    colours: np.ndarray
    alpha: np.ndarray
    stands: bool = False


@cache
def photo_named(name: str) -> np.ndarray:
    """Loads a picture as uint8 (H, W, 3)."""
    if name in ("china", "flower"):
        return np.ascontiguousarray(load_sample_image(f"{name}.jpg"))
    if name == "motorcycle":
        return data.stereo_motorcycle()[0]
    if name == "brick":
        return _tinted(data.brick(), (215, 120, 85))
    if name == "grass":
        return _tinted(data.grass(), (150, 190, 90))
    if name == "gravel":
        return _tinted(data.gravel(), (205, 195, 175))
    if name == "hubble":
        return data.hubble_deep_field()
    if name == "ihc":
        return data.immunohistochemistry()
    return np.ascontiguousarray(getattr(data, name)()[..., :3])


def _tinted(grey: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (grey[..., None] * (np.array(colour) / 200)).clip(0, 255).astype(np.uint8)


@cache
def subject_named(name: str) -> Subject:
    return SUBJECTS[name]()


def _grown(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Carries the subject's inner colours outwards, so that its edge shows no old ground."""
    inner = ndimage.binary_erosion(alpha > 0.99, iterations=2)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    filled = photo[tuple(nearest)]
    soft = cv2.GaussianBlur(filled, (0, 0), 2.0)
    return np.where(inner[..., None], photo, soft)


def _outlined(photo: str, outline: str, *, rounded: bool, stands: bool = False) -> Subject:
    """Cuts a subject out along `x,y x,y …`, corners rounded off where it has none."""
    points = np.array([pair.split(",") for pair in outline.split()], np.float64)
    for _ in range(3 if rounded else 0):  # Chaikin's corner cutting
        following = np.roll(points, -1, axis=0)
        points = np.stack(
            [0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1
        ).reshape(-1, 2)
    picture = photo_named(photo)
    alpha = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    alpha = cv2.GaussianBlur(alpha.astype(np.float32) / 255, (0, 0), 0.8)
    return Subject(photo, _grown(picture, alpha), alpha, stands)


def _cup() -> Subject:
    return _outlined(
        "coffee",
        "172,74 135,95 100,130 82,170 78,205 81,240 93,275 116,310 150,344 195,369 250,384 300,387"
        " 350,381 400,361 440,329 465,285 476,240 477,215 469,180 449,146 425,120 412,108 423,80"
        " 418,69 407,68 398,73 385,57 360,37 330,24 295,20 260,22 225,34 195,53 179,73",
        rounded=True,
    )


def _astronaut() -> Subject:
    return _outlined(
        "astronaut",
        "156,88 165,57 190,40 220,22 240,18 265,24 288,42 299,75 296,105 283,124 267,135 260,160"
        " 256,173 284,197 299,222 305,238 325,247 344,277 356,310 361,346 390,346 430,352 464,377"
        " 487,416 495,455 506,480 506,530 24,530 26,460 21,400 30,330 42,282 62,252 96,228 119,208"
        " 115,190 127,169 151,152 181,150 181,130 166,113 157,100",
        rounded=True,
        stands=True,
    )


def _pagoda() -> Subject:
    return _outlined(
        "china",
        "197,31 213,31 212,46 216,60 232,76 262,96 282,103 295,109 317,120 300,134 293,142 293,158"
        " 300,163 327,174 317,186 319,200 319,228 326,229 326,240 350,252 340,268 340,300 348,309"
        " 347,315 310,333 185,342 160,336 76,328 76,313 83,300 83,283 65,270 76,255 95,248 95,235"
        " 101,228 101,188 87,180 88,171 110,163 121,158 121,138 99,130 98,111 120,104 150,93 175,79"
        " 193,62",
        rounded=False,
    )


def _rocket() -> Subject:
    return _outlined(
        "rocket",
        "323,128 329,139 332,150 332,180 333,200 332,250 331,300 332,350 331,404 312,404 312,350"
        " 312,200 312,185 312,150 316,138",
        rounded=False,
    )


def _motorcycle() -> Subject:
    return _outlined(
        "motorcycle",
        "142,152 150,145 162,149 165,161 230,169 250,179 290,198 350,189 370,188 405,163 440,157"
        " 475,161 479,130 492,102 505,99 538,100 535,119 580,121 580,137 561,145 560,162 545,190"
        " 547,206 575,257 600,270 640,300 638,310 663,340 681,400 673,433 650,447 612,438 572,404"
        " 537,360 515,327 505,320 474,346 454,370 420,379 350,371 344,410 343,431 326,433 330,400"
        " 324,370 285,361 260,384 220,400 181,393 147,369 127,330 127,290 141,263 150,247 110,244"
        " 95,222 95,206 112,196 150,202",
        rounded=False,
    )


def _dahlia() -> Subject:
    photo = photo_named("flower")
    warm = photo[..., 0].astype(int) - photo[..., 2] > 45
    warm[362:] = False
    labels, _ = ndimage.label(warm)
    petals = ndimage.binary_fill_holes(labels == labels[222, 330])
    petals = ndimage.binary_opening(petals, iterations=2)
    alpha = cv2.GaussianBlur(petals.astype(np.float32), (0, 0), 1.0)
    return Subject("flower", _grown(photo, alpha), alpha)


def _coin() -> Subject:
    grey = cv2.resize(data.coins()[8:72, 296:364], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    alpha = np.zeros(grey.shape, np.float32)
    cv2.ellipse(alpha, (307, 284), (229, 218), 0, 0, 360, 1.0, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 3.0)
    photo = np.repeat(grey[..., None], 3, axis=2)
    return Subject("coins", _grown(photo, alpha), alpha)


def _retina() -> Subject:
    photo = cv2.resize(photo_named("retina"), (560, 560), interpolation=cv2.INTER_AREA)
    disc = ndimage.binary_fill_holes(photo.max(axis=2) > 40)
    alpha = cv2.GaussianBlur(disc.astype(np.float32), (0, 0), 0.8)
    return Subject("retina", _grown(photo, alpha), alpha)


def _logo() -> Subject:
    picture = np.ascontiguousarray(data.logo()[..., :3])
    rim = cv2.convexHull(cv2.findNonZero((picture.min(axis=2) < 200).astype(np.uint8)))
    disc = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.float32), rim, 1.0)
    alpha = cv2.GaussianBlur(disc, (0, 0), 0.8)
    return Subject("logo", _grown(picture, alpha), alpha)


def _horse() -> Subject:
    """The silhouette, in a coat of cat."""
    shape = ndimage.zoom((~data.horse()).astype(np.float32), 1.5, order=1)
    alpha = np.pad(cv2.GaussianBlur(shape, (0, 0), 1.0), 8)
    return Subject("chelsea", _textured(photo_named("chelsea")[60:260, 30:330], alpha), alpha)


def _fur_ball() -> Subject:
    """A ball of the cat's coat with hairs standing out, drawn at four times the size."""
    rng = np.random.default_rng(5)
    size, fine = 480, 4
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    centre = size * fine / 2
    cv2.circle(canvas, (int(centre), int(centre)), int(0.34 * size * fine), 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, 1400):
        along = np.linspace(0.30, rng.uniform(0.36, 0.46), 8) * size * fine
        bend = angle + rng.normal(0, 0.12) * np.linspace(0, 1, 8) ** 2
        hair = centre + np.stack([along * np.cos(bend), along * np.sin(bend)], axis=1)
        cv2.polylines(canvas, [np.rint(hair).astype(np.int32)], False, 255, int(rng.integers(2, 6)))
    alpha = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return Subject("chelsea", _textured(photo_named("chelsea")[20:180, 60:220], alpha), alpha)


def _ring() -> Subject:
    """A thick ring with a hole, out of stained tissue."""
    y, x = np.mgrid[-1:1:480j, -1:1:480j]
    radius = np.hypot(x, y)
    alpha = np.clip((0.29 - np.abs(radius - 0.62)) * 240 + 0.5, 0, 1).astype(np.float32)
    return Subject("ihc", _textured(photo_named("ihc"), alpha), alpha)


def _vase() -> Subject:
    """A turned vase of brick-red clay, lit from the left."""
    y, x = np.mgrid[0:1:560j, -0.5:0.5:420j]
    profile = 0.20 + 0.13 * np.sin(5.2 * y - 0.9) + 0.05 * np.cos(11 * y)
    inside = np.minimum(profile - np.abs(x), np.minimum(y - 0.03, 0.97 - y) * 2)
    alpha = np.clip(inside * 420 + 0.5, 0, 1).astype(np.float32)
    colours = _textured(photo_named("brick")[:280, :210], alpha).astype(np.float32)
    light = 0.55 + 0.6 * np.sqrt(np.clip(1 - ((x + 0.12) / (profile + 0.12)) ** 2, 0, 1))
    return Subject("brick", np.clip(colours * light[..., None], 0, 255).astype(np.uint8), alpha)


def _textured(texture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    height, width = alpha.shape
    return cv2.resize(np.ascontiguousarray(texture), (width, height), interpolation=cv2.INTER_CUBIC)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "cup": _cup, "astronaut": _astronaut, "pagoda": _pagoda, "rocket": _rocket,
    "motorcycle": _motorcycle, "dahlia": _dahlia, "coin": _coin, "retina": _retina,
    "logo": _logo, "horse": _horse, "fur ball": _fur_ball, "ring": _ring, "vase": _vase,
}  # fmt: skip

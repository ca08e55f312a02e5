"""File names from keys: safe, unique, stable."""

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.pipeline.naming import Stems, safe_stem

HOSTILE = [
    "../../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "x" * 5000, "CON", "con", "nul", "LPT1",
    "a\x00b", "a\nb", "\x1b[31m", "-rf", "~", "a.b.c", "Ünïcode", "раypal", "paypal", " ", "a ", "%2e%2e",
    "\u202egnp", "🐈", "*?[", "a:b",
    "__init__", "__HIVE_DEFAULT_PARTITION__",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_give_one_plain_path_segment(key):
    assert re.fullmatch(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_-]*", safe_stem(key))
    assert len(safe_stem(key)) <= 100
    assert not re.fullmatch(r"(?i)con|nul|lpt1", safe_stem(key))


def test_plain_keys_are_their_own_stems():
    for key in ("astronaut", "IMG_0001", "a-b_c", "0", "x" * 100):
        assert safe_stem(key) == key


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_any_key_stays_within_its_folder(key):
    path = os.path.normpath(os.path.join("/out/images", f"{safe_stem(key)}.png"))
    assert os.path.dirname(path) == "/out/images"


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.text(max_size=4) | st.sampled_from(["a", "A", "a-2", "a-3", "CON"]), max_size=40)
)
def test_stems_of_a_unit_differ_even_where_names_ignore_case(keys):
    stems = Stems()
    taken = [stems.take(key) for key in keys]
    assert len({stem.lower() for stem in taken}) == len(keys)
    again = Stems()
    assert taken == [again.take(key) for key in keys]


def test_look_alike_keys_get_different_stems():
    assert len({safe_stem("раypal"), safe_stem("paypal"), safe_stem("pаypal")}) == 3

"""API keys: found by reference, and never shown by accident."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from alphabeam.transforms.providers import keys
from alphabeam.transforms.providers.keys import Secret

KEY = "key-id-12345:key-secret-67890"


def test_a_secret_does_not_show_itself():
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    shown = f"{secret} {secret!r} {[secret]} {vars(type(secret))} {dir(secret)}"
    assert "12345" not in shown
    assert "67890" not in shown


@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_does_not_travel(travel):
    with pytest.raises(TypeError, match="does not travel"):
        travel(Secret(KEY))


def test_a_secret_is_blotted_out_of_a_text_whole_and_in_halves():
    text = f"bad key {KEY}, id key-id-12345, secret key-secret-67890"
    assert Secret(KEY).hide_in(text) == "bad key ***, id ***, secret ***"


@pytest.mark.parametrize("given", [KEY, "sk-12345", "env:", ":x", "http://x"])
def test_a_key_given_instead_of_a_reference_is_refused_without_being_repeated(given):
    with pytest.raises(ValueError, match="takes a reference") as caught:
        keys.resolve(given, "FAL_KEY")
    assert given not in "".join(traceback.format_exception(caught.value)).replace("env:NAME", "")


def test_a_key_comes_from_the_providers_own_variable_or_a_named_one(monkeypatch):
    monkeypatch.setenv("FAL_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", " other-key \n")
    assert keys.resolve(None, "FAL_KEY").reveal() == KEY
    assert keys.resolve("env:OTHER_KEY", "FAL_KEY").reveal() == "other-key"


def test_a_key_comes_from_a_file(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert keys.resolve(f"file:{tmp_path}/key", "FAL_KEY").reveal() == KEY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no key in file:"),
        ("two\nlines", "one ASCII line"),
        ("schlüssel", "one ASCII line"),
    ],
)
def test_a_file_that_holds_no_key_is_named(tmp_path, content, message):
    (tmp_path / "key").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        keys.resolve(f"file:{tmp_path}/key", "FAL_KEY")
    assert not content or content not in str(caught.value)


def test_a_key_that_is_not_there_is_named(monkeypatch):
    monkeypatch.delenv("GMI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="no key in env:GMI_API_KEY"):
        keys.resolve(None, "GMI_API_KEY")
    with pytest.raises(ValueError, match="file:/nowhere cannot be read: No such file"):
        keys.resolve("file:/nowhere", "GMI_API_KEY")

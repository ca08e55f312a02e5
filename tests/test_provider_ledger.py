"""The ledger: its states, who may act on them, and that one of many wins."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.providers import lease
from alphabeam.transforms.providers.entries import (
    Bought,
    Intent,
    Lost,
    Open,
    Vacant,
    decode,
    encode,
)
from alphabeam.transforms.providers.ledger import Ledger, purchase_name
from alphabeam.transforms.providers.messages import Done, Failed, Ticket, Trouble
from alphabeam.transforms.providers.reopening import Reopening

NAME = purchase_name("sha", "fal-bria", "model", {})
TICKET = Ticket("fal-bria", "r1", {"status_url": "https://queue.fal.run/x"}, 1.5, 1801.5)
DONE = Done("https://x/y.png", "r1", 0.018)


def intended(ledger: Ledger, vacant: Vacant | None = None) -> Intent:
    intent = ledger.intend(NAME, vacant or Vacant())
    assert intent is not None
    return intent


def test_a_purchase_is_named_by_everything_that_matters():
    names = {
        purchase_name("a", "p", "m", {}),
        purchase_name("b", "p", "m", {}),
        purchase_name("a", "q", "m", {}),
        purchase_name("a", "p", "n", {}),
        purchase_name("a", "p", "m", {"x": 1}),
        purchase_name("a", "p", "m", {"x": 2}),
    }
    assert len(names) == 6
    assert purchase_name("a", "p", "m", {"x": 1, "y": 2}) == purchase_name(
        "a", "p", "m", {"y": 2, "x": 1}
    )


@pytest.mark.parametrize("scheme", ["{}", "file://{}", "memory://ledger-{}"])
def test_a_purchase_goes_from_intent_to_ticket_to_picture(tmp_path, scheme):
    ledger = Ledger(scheme.format(tmp_path))
    assert ledger.latest(NAME) == Vacant()
    intent = intended(ledger)
    assert ledger.latest(NAME) == intent
    opened = ledger.accept(NAME, intent, TICKET)
    assert ledger.latest(NAME) == opened == Open(1, 0, (), TICKET)
    bought = ledger.buy(NAME, 1, DONE, 0.018, b"picture")
    assert isinstance(bought, Bought)
    assert ledger.latest(NAME) == bought
    assert ledger.media(bought) == b"picture"


def test_a_lost_attempt_is_followed_by_the_next_which_knows_it(tmp_path):
    ledger = Ledger(str(tmp_path))
    opened = ledger.accept(NAME, intended(ledger), TICKET)
    lost = ledger.lose(NAME, opened, Failed(Trouble.FAILED, "no", resubmits=1), accepted=True)
    assert ledger.latest(NAME) == lost
    assert isinstance(lost, Lost)
    assert lost.next() == Vacant(2, 1, ("r1",))
    second = intended(ledger, lost.next())
    assert ledger.latest(NAME) == second
    assert (second.attempt, second.counted, second.known_ids) == (2, 1, ("r1",))


def test_of_many_at_once_one_opens_and_one_closes_an_attempt(tmp_path):
    ledgers = [Ledger(str(tmp_path), owner=f"host|{n}|0") for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        intents = list(pool.map(lambda ledger: ledger.intend(NAME, Vacant()), ledgers))
        (mine,) = [intent for intent in intents if intent]
        failed = Failed(Trouble.RETRYABLE, "no trace", billed=False)
        ends = set(
            pool.map(lambda ledger: repr(ledger.lose(NAME, mine, failed, accepted=False)), ledgers)
        )
        seconds = list(pool.map(lambda ledger: ledger.intend(NAME, Vacant(2)), ledgers))
    assert len(ends) == 1
    assert sum(second is not None for second in seconds) == 1


def test_the_first_result_wins(tmp_path):
    ledger = Ledger(str(tmp_path))
    ledger.accept(NAME, intended(ledger), TICKET)
    first = ledger.buy(NAME, 1, DONE, 0.018, b"one")
    assert ledger.buy(NAME, 1, DONE, 0.018, b"two") == first
    assert isinstance(first, Bought)
    assert ledger.media(first) == b"one"


def test_an_own_intent_is_not_held_by_another(tmp_path):
    ledger = Ledger(str(tmp_path))
    assert not ledger.is_held(intended(ledger), 1e9)


def test_an_intent_of_a_process_that_runs_is_held_until_its_lease_is_over(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        owner = lease.process(other.pid)
        now = [1000.0]
        intent = intended(Ledger(str(tmp_path), owner, clock=lambda: now[0]))
        ledger = Ledger(str(tmp_path), clock=lambda: now[0])
        assert ledger.is_held(intent, 60.0)
        now[0] = 1061.0
        assert not ledger.is_held(intent, 60.0)
        now[0] = 1000.0
        other.kill()
        other.wait()
        assert not ledger.is_held(intent, 60.0)


def test_an_intent_of_another_machine_is_held_until_its_lease_is_over(tmp_path):
    now = [1000.0]
    intent = intended(Ledger(str(tmp_path), "elsewhere|1|1", clock=lambda: now[0]))
    ledger = Ledger(str(tmp_path), clock=lambda: now[0])
    assert ledger.is_held(intent, 60.0)
    now[0] = 1060.0
    assert not ledger.is_held(intent, 60.0)


def test_an_intent_that_was_let_go_is_held_by_nobody(tmp_path):
    other = Ledger(str(tmp_path), "elsewhere|1|1")
    other.let_go(NAME, intended(other))
    ledger = Ledger(str(tmp_path))
    intent = ledger.latest(NAME)
    assert isinstance(intent, Intent)
    assert not ledger.is_held(intent, 1e9)


def test_a_damaged_picture_is_not_given_out(tmp_path):
    ledger = Ledger(str(tmp_path))
    intended(ledger)
    bought = ledger.buy(NAME, 1, DONE, None, b"picture")
    assert isinstance(bought, Bought)
    (tmp_path / NAME[:2] / bought.media).write_bytes(b"other")
    with pytest.raises(ValueError, match="is damaged"):
        ledger.media(bought)


def test_a_damaged_entry_is_named(tmp_path):
    ledger = Ledger(str(tmp_path))
    intended(ledger)
    (file,) = (tmp_path / NAME[:2]).iterdir()
    file.write_text('{"state": "intent"}')
    with pytest.raises(ValueError, match=r"intent\.json: not a ledger entry"):
        ledger.latest(NAME)


def test_a_task_id_is_a_uuid_for_one_attempt_in_one_ledger(tmp_path):
    ledger = Ledger(str(tmp_path / "a"))
    task_id = ledger.task_id(NAME, 1)
    assert uuid.UUID(task_id).version == 4
    assert Ledger(str(tmp_path / "a")).task_id(NAME, 1) == task_id
    others = {
        ledger.task_id(NAME, 2),
        ledger.task_id(NAME[::-1], 1),
        Ledger(str(tmp_path / "b")).task_id(NAME, 1),
    }
    assert len(others | {task_id}) == 4


TEXT = st.text(max_size=20)
NUMBER = st.floats(0, 1e12)
IDS = st.lists(TEXT, max_size=3).map(tuple)
ENTRIES = st.one_of(
    st.builds(
        Intent, st.integers(1, 9), st.integers(0, 9), IDS, TEXT, NUMBER, NUMBER, st.booleans()
    ),
    st.builds(
        Open,
        st.integers(1, 9),
        st.integers(0, 9),
        IDS,
        st.builds(
            Ticket, TEXT, TEXT, st.dictionaries(TEXT, TEXT), NUMBER, NUMBER, st.none() | TEXT
        ),
        st.booleans(),
    ),
    st.builds(Bought, st.integers(1, 9), TEXT, st.none() | NUMBER, TEXT, TEXT),
    st.builds(
        Lost,
        st.integers(1, 9),
        st.integers(0, 9),
        IDS,
        st.builds(
            Failed,
            st.sampled_from(Trouble),
            TEXT,
            st.none() | NUMBER,
            st.integers(0, 3),
            st.booleans(),
        ),
    ),
)


@settings(deadline=None, max_examples=100)
@given(ENTRIES)
def test_an_entry_comes_back_as_it_was_stored(entry):
    assert decode(encode(entry)) == entry


def lost(
    trouble: Trouble, *, attempt: int = 1, counted: int = 1, resubmits: int = 0, billed: bool
) -> Lost:
    return Lost(attempt, counted, (), Failed(trouble, "x", resubmits=resubmits, billed=billed))


@pytest.mark.parametrize(
    ("end", "closed_here", "again"),
    [
        (lost(Trouble.REJECTED_INPUT, billed=False), False, False),
        (lost(Trouble.REJECTED_INPUT, resubmits=2, billed=False), True, True),
        (lost(Trouble.REJECTED_INPUT, counted=3, resubmits=2, billed=False), True, False),
        (lost(Trouble.FAILED, resubmits=1, billed=True), True, True),
        (lost(Trouble.FAILED, counted=2, resubmits=1, billed=True), False, False),
        (lost(Trouble.FAILED, counted=4, resubmits=3, billed=False), True, False),
        (lost(Trouble.FAILED, counted=4, resubmits=3, billed=False), False, True),
        (lost(Trouble.AUTH, counted=0, billed=False), False, True),
        (lost(Trouble.EXHAUSTED_BUDGET, counted=0, billed=False), False, True),
        (lost(Trouble.RETRYABLE, counted=0, billed=False), True, True),
        (lost(Trouble.EXPIRED_RESULT, billed=True), False, False),
        (lost(Trouble.AMBIGUOUS, billed=True), False, False),
        (lost(Trouble.TIMEOUT, billed=True), False, False),
        (lost(Trouble.TIMEOUT, resubmits=1, billed=False), True, True),
    ],
)
def test_an_attempt_follows_only_when_that_cannot_pay_twice(end, closed_here, again):
    reopening = Reopening(may_repay=False)
    if closed_here:
        reopening.closed(end.attempt)
    assert reopening.after(end) == (end.next() if again else None)


@pytest.mark.parametrize("trouble", [Trouble.EXPIRED_RESULT, Trouble.AMBIGUOUS, Trouble.TIMEOUT])
def test_what_was_paid_for_in_vain_is_paid_again_once_when_allowed(trouble):
    reopening = Reopening(may_repay=True)
    first = lost(trouble, billed=True)
    assert reopening.after(first) == first.next()
    assert reopening.after(lost(trouble, attempt=2, counted=2, billed=True)) is None

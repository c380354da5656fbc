"""Trials that are trained together, and what one of them may spoil for the others."""

import weakref

import pytest

from jaxcnn.errors import DiskError
from jaxcnn.search import trials


class Arrays:
    """What a population holds on its device."""


class Trial:
    """Of an `ActiveTrial` what the training of it needs."""

    def __init__(self, number):
        self.number = number
        self.going = True
        self.seconds = 0.0
        self.reason = None

    def end(self, state, reason=""):
        self.going, self.reason = False, reason


@pytest.fixture
def tried(monkeypatch):
    """The numbers of those that were trained together, again and again; `fails` says which fail."""
    found = []
    held = []

    def follow(begun, deadline):
        assert not any(one() is not None for one in held), "those that failed are still in memory"
        arrays = Arrays()
        held.append(weakref.ref(arrays))
        found.append([one.number for one in begun])
        if error := found.fails(found[-1]):
            raise error
        for one in begun:
            one.going = False

    class Found(list):
        def fails(self, numbers):
            return None

    found = Found()
    monkeypatch.setattr(trials, "_follow", follow)
    return found


def test_trials_without_memory_for_all_are_halved_when_the_first_are_out_of_it(tried, caplog):
    def fails(numbers):
        return RuntimeError("RESOURCE_EXHAUSTED: no\nmemory") if len(numbers) > 2 else None

    tried.fails = fails
    begun = [Trial(number) for number in range(5)]
    assert not trials._try(begun, 0.0)
    assert tried == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]
    assert all(one.reason is None for one in begun)
    assert "trials 0, 1, 2, 3, 4 failed together" in caplog.messages[0]
    assert not any("\n" in message for message in caplog.messages)


def test_a_trial_that_spoils_it_for_others_is_found(tried):
    tried.fails = lambda numbers: ValueError("a bad one") if 2 in numbers else None
    begun = [Trial(number) for number in range(4)]
    assert trials._try(begun, 0.0), "there was memory"
    assert [one.reason for one in begun] == [None, None, "ValueError: a bad one", None]


def test_a_full_disk_is_the_end_of_it(tried):
    tried.fails = lambda numbers: DiskError("checkpoints: the checkpoint could not be written")
    with pytest.raises(DiskError):
        trials._try([Trial(0), Trial(1)], 0.0)
    assert tried == [[0, 1]]


def test_the_time_is_shared_by_those_that_were_trained_in_it(monkeypatch):
    begun = [Trial(0), Trial(1), Trial(2)]
    monkeypatch.setattr(trials.time, "monotonic", lambda: 110.0)
    assert trials._share_time(begun, 101.0) == 110.0
    begun[0].going = False
    trials._share_time(begun, 100.0)
    assert [one.seconds for one in begun] == [3, 8, 8]

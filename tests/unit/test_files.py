from __future__ import annotations

import resource

import pytest

from tts_streamd.files import RESERVED, WANTED, raise_file_limit, room_for_sessions


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 20_000), 20_000),
        ((1024, resource.RLIM_INFINITY), WANTED),
        ((256, 256), 256),
        ((100_000, 200_000), 100_000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), WANTED),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes_and_never_lowered(monkeypatch, limits, expected):
    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: told.append(new))
    assert raise_file_limit() == expected
    assert told == ([(expected, limits[1])] if limits[0] not in {256, 100_000, -1} else [])


def test_clients_are_refused_before_descriptors_run_out():
    assert room_for_sessions(20_000, 1000) == 1000
    assert room_for_sessions(256, 1000) == (256 - RESERVED) // 2
    assert room_for_sessions(10, 1000) == 1

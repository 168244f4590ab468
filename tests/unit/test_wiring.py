from __future__ import annotations

from tts_streamd.wiring import _unanswered
from tts_streamd_protocol.signals import LinkEnded


def test_only_an_engine_that_never_answered_is_taken_for_hung():
    assert _unanswered(LinkEnded(link="link/1", code="timeout"))
    assert not _unanswered(LinkEnded(link="link/1", code="timeout", opened=True))
    assert not _unanswered(LinkEnded(link="link/1", code="upstream_unreachable"))
    assert not _unanswered(LinkEnded(link="link/1"))

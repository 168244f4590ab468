import re
from typing import get_args

import pytest

from tts_streamd_protocol.errors import CODES, RETRYABLE, Code, TtsStreamdError

CONTRACT = """bad_message bad_encoding unknown_op unsupported_version hello_required too_large bad_value
no_such_stream duplicate_stream text_gap text_overrun unspeakable_text client_stalled timeout internal
busy too_many_streams budget_exceeded shutting_down denied
auth_failed quota_exceeded voice_not_found model_not_supported rate_limited
upstream_unreachable upstream_protocol"""


def test_the_codes_are_those_of_the_contract():
    assert list(CODES) == CONTRACT.split() == list(get_args(Code))
    assert all(re.fullmatch(r"[a-z_]+", code) for code in CODES)


def test_only_what_may_pass_by_itself_is_retryable():
    assert set(CODES) > RETRYABLE
    refused_again = {"bad_message", "bad_value", "denied", "auth_failed", "quota_exceeded", "voice_not_found"}
    assert not refused_again & RETRYABLE


@pytest.mark.parametrize("code", CODES)
def test_an_error_tells_its_code_and_message(code):
    error = TtsStreamdError(code, "what to do", retry_ms=5)
    assert str(error) == f"{code}: what to do"
    assert (error.code, error.message, error.retry_ms) == (code, "what to do", 5)
    assert error.retryable == (code in RETRYABLE)

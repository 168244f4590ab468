from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_audio.blocks import WholeSamples


def test_half_a_sample_waits_for_its_other_half():
    whole = WholeSamples()
    assert whole.feed(b"\x01\x02\x03") == b"\x01\x02"
    assert whole.waiting_bytes == 1
    assert whole.feed(b"\x04") == b"\x03\x04"
    assert whole.waiting_bytes == 0


def test_whole_samples_are_not_copied():
    chunk = bytes(range(100))
    assert WholeSamples().feed(chunk) is chunk


@given(st.lists(st.binary(max_size=7)))
def test_nothing_is_lost_or_moved_and_every_output_is_whole(chunks):
    whole = WholeSamples()
    outputs = [whole.feed(chunk) for chunk in chunks]
    joined = b"".join(chunks)
    assert all(len(output) % 2 == 0 for output in outputs)
    assert b"".join(outputs) == joined[: len(joined) - whole.waiting_bytes]
    assert whole.waiting_bytes == len(joined) % 2

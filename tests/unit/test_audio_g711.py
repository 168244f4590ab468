import hashlib
import struct

import numpy as np
import pytest

from tts_streamd_audio.g711 import compress, table

EVERY_SAMPLE = struct.pack("<65536H", *range(65536))

# audioop.lin2ulaw and lin2alaw of Python 3.11
REFERENCE = {
    "ulaw": {
        0: 255, -1: 126, 8: 254, -8: 126, 100: 242, -100: 114, 1000: 206, -1000: 78,
        12345: 151, -12345: 23, 32635: 128, 32767: 128, -32768: 0,
    },
    "alaw": {
        0: 213, -1: 85, 8: 213, -8: 85, 100: 211, -100: 83, 1000: 250, -1000: 122,
        12345: 189, -12345: 61, 32635: 170, 32767: 170, -32768: 42,
    },
}  # fmt: skip
SHA256_OF_EVERY_SAMPLE = {
    "ulaw": "617fa4850d68d3906597e949f7625fb2fc46db479e29707f33159b3d131721cb",
    "alaw": "f77c76aa923ee25617453f87514828a12896227f82ff383bf3bb53d6ac7c2a0f",
}


def ulaw_level(code):
    """Decode as ITU-T G.711 says: sign, three bits of segment, four of mantissa, all inverted."""
    code ^= 0xFF
    magnitude = ((((code & 0x0F) << 1) + 33) << ((code & 0x70) >> 4)) - 33
    return (-magnitude if code & 0x80 else magnitude) << 2


def alaw_level(code):
    """Decode as ITU-T G.711 says: like µ-law, with every even bit inverted and no bias in segment 0."""
    code ^= 0x55
    segment, mantissa = (code & 0x70) >> 4, code & 0x0F
    magnitude = (mantissa << 4) + 8 if segment == 0 else ((mantissa << 4) + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_known_samples_have_the_reference_codes(law):
    samples = REFERENCE[law]
    assert list(compress(struct.pack(f"<{len(samples)}h", *samples), law)) == list(samples.values())


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_every_one_of_the_65536_samples_has_the_reference_code(law):
    assert hashlib.sha256(compress(EVERY_SAMPLE, law)).hexdigest() == SHA256_OF_EVERY_SAMPLE[law]


@pytest.mark.parametrize(
    ("law", "level", "step_at_zero"), [("ulaw", ulaw_level, 8), ("alaw", alaw_level, 16)]
)
def test_what_the_standard_decodes_is_within_half_a_step_of_the_sample(law, level, step_at_zero):
    samples = np.arange(-32124, 32124)  # beyond, µ-law clips
    levels = np.array([level(code) for code in range(256)])
    decoded = levels[table(law)[samples.astype(np.int16).view(np.uint16)]]
    # a step is a sixteenth of its segment, and a segment begins at half the magnitude of its end
    assert (np.abs(decoded - samples) <= np.maximum(step_at_zero, np.abs(samples) / 16 + 4)).all()


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_the_table_is_made_once(law):
    assert table(law) is table(law)

import io
import wave

from tts_streamd_audio.wav import HEADER_BYTES, WavWriter, wav_header

PCM = bytes(range(256)) * 10


class Pipe(io.BytesIO):
    """A file that cannot seek."""

    def seekable(self):
        return False

    def seek(self, *_where):
        raise OSError

    tell = seek


def test_a_file_that_can_seek_gets_the_true_sizes():
    file = io.BytesIO()
    with WavWriter(file, 22050) as writer:
        writer.write(PCM[:101])
        writer.write(PCM[101:])
    file.seek(0)
    with wave.open(file) as sound:
        assert sound.getparams()[:4] == (1, 2, 22050, len(PCM) // 2)
        assert sound.readframes(10**6) == PCM


def test_a_wav_may_begin_in_the_middle_of_a_file_and_leaves_it_at_its_end():
    file = io.BytesIO(b"before")
    file.seek(6)
    writer = WavWriter(file, 24000)
    writer.write(PCM)
    writer.close()
    writer.close()
    file.write(b"after")
    assert file.getvalue() == b"before" + wav_header(24000, len(PCM)) + PCM + b"after"


def test_a_pipe_gets_a_header_that_says_until_the_end():
    pipe = Pipe()
    writer = WavWriter(pipe, 24000)
    writer.write(PCM)
    writer.close()
    assert pipe.getvalue() == wav_header(24000) + PCM
    assert pipe.getvalue()[4:8] == pipe.getvalue()[40:44] == b"\xff\xff\xff\xff"


def test_sizes_beyond_the_formats_limit_become_until_the_end():
    assert len(wav_header(24000)) == HEADER_BYTES
    assert wav_header(24000, 2**32 - 37) != wav_header(24000)
    assert wav_header(24000, 2**32 - 36) == wav_header(24000)

import pytest

from tts_streamd_actors.voicebook import VoiceBook
from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.messages import VoiceInfo

SARAH = "EXAVITQu4vr4xnSDxMaL"


def book(*, complete=True, default="Sarah", names=("Sarah", "George")):
    book = VoiceBook(default, complete)
    ids = {"Sarah": SARAH}
    book.replace([VoiceInfo(voice=ids.get(name, name * 4), name=name) for name in names])
    return book


@pytest.mark.parametrize("wanted", [SARAH, "Sarah", "sarah", "SARAH", None])
def test_a_voice_is_found_by_id_or_name_and_by_default(wanted):
    assert book().resolve(wanted) == SARAH


@pytest.mark.parametrize(
    ("wanted", "hint"), [("Gorge", "did you mean 'George'"), ("zzz", "there are: Sarah, George")]
)
def test_a_voice_that_does_not_exist_is_answered_with_one_that_does(wanted, hint):
    with pytest.raises(TtsStreamdError, match=hint) as refused:
        book(complete=False).resolve(wanted)
    assert refused.value.code == "voice_not_found"


def test_a_name_of_any_length_is_cut_in_the_answer():
    with pytest.raises(TtsStreamdError) as refused:
        book().resolve("x" * 10_000)
    assert len(refused.value.message) < 200


def test_an_id_that_is_not_listed_is_upstreams_to_judge():
    stranger = "a1B2c3D4e5F6g7H8i9J0"
    assert book(complete=False).resolve(stranger) == stranger
    with pytest.raises(TtsStreamdError):
        book(complete=True).resolve(stranger)
    with pytest.raises(TtsStreamdError):
        book(complete=False).resolve(stranger[:-1])


def test_while_nothing_is_listed_anything_may_exist():
    assert book(complete=False, names=()).resolve("Anna") == "Anna"
    with pytest.raises(TtsStreamdError):
        book(complete=True, names=()).resolve("Anna")


def test_a_fresh_list_replaces_the_old_one():
    voices = book()
    voices.replace([VoiceInfo(voice="n", name="New")])
    assert voices.resolve("new") == "n"
    with pytest.raises(TtsStreamdError):
        voices.resolve("Sarah")

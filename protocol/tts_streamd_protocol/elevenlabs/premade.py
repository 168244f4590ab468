"""The voices that every ElevenLabs account knows: a table of ids, so that names resolve without a network.

Ids and names are ElevenLabs' own public ones; descriptions are short notes of ours.  ``codepoint`` is not
theirs: it is the embedded engine's test voice, whose samples are the code points of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Category: TypeAlias = Literal["premade", "generated"]


@dataclass(frozen=True, slots=True)
class PremadeVoice:
    """One row: ``voice_id`` goes on the wire, ``name`` is for people and unique regardless of case."""

    voice_id: str
    name: str
    category: Category
    description: str


def _premade(voice_id: str, name: str, description: str) -> PremadeVoice:
    return PremadeVoice(voice_id, name, "premade", description)


CODEPOINT = PremadeVoice(
    "codepoint", "codepoint", "generated", "test voice: each character sounds as its code point"
)

PREMADE: tuple[PremadeVoice, ...] = (
    _premade("EXAVITQu4vr4xnSDxMaL", "Sarah", "American woman, mature and reassuring"),
    _premade("21m00Tcm4TlvDq8ikWAM", "Rachel", "American woman, calm"),
    _premade("9BWtsMINqrJLrRacOk9x", "Aria", "American woman, expressive"),
    _premade("FGY2WhTYpPnrIDTdsKH5", "Laura", "American woman, enthusiastic"),
    _premade("XrExE9yKIg1WjnnlVkGX", "Matilda", "American woman, knowledgeable"),
    _premade("cgSgspJ2msm6clMCkdW9", "Jessica", "American woman, playful and bright"),
    _premade("hpp4J3VqNfWAUOO0d1Us", "Bella", "American woman, professional and warm"),
    _premade("Xb7hH8MSUJpSbSDYk0k2", "Alice", "British woman, clear and engaging"),
    _premade("pFZP5JQG7iQjIQuC4Bku", "Lily", "British woman, velvety"),
    _premade("XB0fDUnXU5powFXDhCwa", "Charlotte", "European woman, calm storyteller"),
    _premade("SAz9YHcvj6GT2YYXdXww", "River", "American, neutral and informative"),
    _premade("CwhRBWXzGAHq8TQ4Fs17", "Roger", "American man, laid-back and resonant"),
    _premade("IKne3meq5aSn9XLyUdCD", "Charlie", "Australian man, deep and energetic"),
    _premade("JBFqnCBsd6RMkjVDRZzb", "George", "British man, warm storyteller"),
    _premade("N2lVS1w4EtoT3dr4eOWO", "Callum", "American man, husky"),
    _premade("TX3LPaxmHKxFdv7VOQHJ", "Liam", "American man, young and energetic"),
    _premade("SOYHLrjzK2X1ezoPC6cr", "Harry", "American man, rough"),
    _premade("bIHbv24MWmeRgasZH58o", "Will", "American man, relaxed"),
    _premade("cjVigY5qzO86Huf0OWal", "Eric", "American man, smooth"),
    _premade("iP95p4xoKVk53GoZ742B", "Chris", "American man, down-to-earth"),
    _premade("nPczCjzI2devNBz1zQrb", "Brian", "American man, deep and comforting"),
    _premade("onwK4e9ZLuTAKqWW03F9", "Daniel", "British man, steady broadcaster"),
    _premade("pqHfZKP75CvOlQylNhV4", "Bill", "American man, wise and balanced"),
    _premade("pNInz6obpgDQGcFmaJgB", "Adam", "American man, deep and firm"),
    _premade("ErXwobaYiN019PkySvjV", "Antoni", "American man, well-rounded"),
    _premade("VR6AewLTigWG4xSOukaG", "Arnold", "American man, crisp"),
    _premade("TxGEqnHWrfWFTfGW9XjX", "Josh", "American man, young and deep"),
    _premade("yoZ06aMxZJJ28mfd3POQ", "Sam", "American man, raspy"),
    _premade("2EiwWnXFnvU5JabPnv8n", "Clyde", "American man, war veteran"),
    _premade("29vD33N1CtxCmqQRPOHJ", "Drew", "American man, well-rounded"),
    _premade("5Q0t7uMcjvnagumLfvZi", "Paul", "American man, ground reporter"),
    _premade("CYw3kZ02Hs0563khs1Fj", "Dave", "British man, conversational"),
    _premade("D38z5RcWu1voky8WS1ja", "Fin", "Irish man, sailor"),
    _premade("GBv7mTt0atIp3Br8iCZE", "Thomas", "American man, calm"),
    _premade("ODq5zmih8GrVes37Dizd", "Patrick", "American man, shouty"),
    _premade("ZQe5CZNOzWyzPSCn5a3c", "James", "Australian man, calm"),
    _premade("Zlb1dXrM653N07WRdFW3", "Joseph", "British man, narrator"),
    _premade("bVMeCyTHy58xNoL34h3p", "Jeremy", "Irish man, excited"),
    _premade("flq6f7yk4E4fJM5XTYuZ", "Michael", "American man, old"),
    _premade("g5CIjZEefAph4nQFvHAz", "Ethan", "American man, whispering"),
    _premade("zcAOhNBS3c14rBihAFp1", "Giovanni", "Italian man"),
    _premade("AZnzlk1XvdvUeBnXmlld", "Domi", "American woman, strong"),
    _premade("LcfcDJNUP1GQjkzn1xUU", "Emily", "American woman, calm"),
    _premade("MF3mGyEYCl7XYWbV9V6O", "Elli", "American woman, young"),
    _premade("ThT5KcBeYPX3keUQqHPh", "Dorothy", "British woman, pleasant"),
    _premade("jBpfuIE2acCO8z3wKNLl", "Gigi", "American woman, childlike"),
    _premade("jsCqWAovK2LkecY7zXl4", "Freya", "American woman, expressive"),
    _premade("oWAxZDx7w5VEj9dCyTzz", "Grace", "American woman, Southern, gentle"),
    _premade("pMsXgVXv3BLzUgSXRplE", "Serena", "American woman, pleasant"),
    _premade("piTKgcLEGmPE4e6mEKli", "Nicole", "American woman, whispering"),
    _premade("z9fAnlkpzviPz146aGWa", "Glinda", "American woman, witch"),
    _premade("zrHiDhphv9ZnVXBqCLjz", "Mimi", "Swedish woman, childlike"),
    CODEPOINT,
)
"""Every voice of the embedded engine; the first is the default."""

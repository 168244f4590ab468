"""What clients ask about an account: voices, models, subscription.  Fixed answers of the service's shape."""

from __future__ import annotations

from typing import TypeAlias

from tts_streamd_protocol.elevenlabs.premade import PREMADE, PremadeVoice

Json: TypeAlias = "dict[str, object]"

MAX_TEXT = 40_000
"""Characters of one HTTP request: the service's limit for its Flash models."""
_FLASH = ("eleven_flash_v2_5", "eleven_flash_v2", "eleven_turbo_v2_5", "eleven_turbo_v2")
MODELS = (*_FLASH, "eleven_multilingual_v2")


def cost_per_character(model_id: str) -> float:
    """Half a credit a character on Flash and Turbo, else one."""
    return 0.5 if model_id in _FLASH else 1.0


def voice(row: PremadeVoice) -> Json:
    """One voice as ``GET /v1/voices`` tells it."""
    settings = {
        "stability": 0.5,
        "similarity_boost": 0.75,
        "style": 0.0,
        "use_speaker_boost": True,
        "speed": 1.0,
    }
    return {
        "voice_id": row.voice_id,
        "name": row.name,
        "category": row.category,
        "description": row.description,
        "labels": {"language": "en"},
        "settings": settings,
        "preview_url": None,
        "available_for_tiers": [],
        "high_quality_base_model_ids": list(MODELS),
    }


def voices() -> Json:
    """``GET /v1/voices``."""
    return {"voices": [voice(row) for row in PREMADE]}


def found_voices(search: str, page_size: int, page_token: str) -> Json:
    """``GET /v2/voices``: one page of the voices whose name, id or description holds ``search``."""
    wanted = search.casefold()
    found = [v for v in PREMADE if wanted in f"{v.name}\n{v.voice_id}\n{v.description}".casefold()]
    start = int(page_token) if page_token.isdecimal() else 0
    following = start + page_size
    has_more = following < len(found)
    return {
        "voices": [voice(row) for row in found[start:following]],
        "has_more": has_more,
        "total_count": len(found),
        "next_page_token": str(following) if has_more else None,
    }


def models() -> list[Json]:
    """``GET /v1/models``: an array."""
    return [
        {
            "model_id": model_id,
            "name": model_id.replace("_", " ").title(),
            "description": "served by the embedded English voice",
            "can_do_text_to_speech": True,
            "can_do_voice_conversion": False,
            "can_be_finetuned": False,
            "can_use_style": False,
            "can_use_speaker_boost": False,
            "serves_pro_voices": False,
            "token_cost_factor": cost_per_character(model_id),
            "requires_alpha_access": False,
            "max_characters_request_free_user": MAX_TEXT,
            "max_characters_request_subscribed_user": MAX_TEXT,
            "maximum_text_length_per_request": MAX_TEXT,
            "languages": [{"language_id": "en", "name": "English"}],
            "model_rates": {"character_cost_multiplier": cost_per_character(model_id)},
            "concurrency_group": "standard",
        }
        for model_id in MODELS
    ]


def subscription() -> Json:
    """``GET /v1/user/subscription``: nothing is counted and nothing runs out."""
    return {
        "tier": "embedded",
        "character_count": 0,
        "character_limit": 10_000_000,
        "max_character_limit_extension": None,
        "max_credit_limit_extension": None,
        "can_extend_character_limit": False,
        "allowed_to_extend_character_limit": False,
        "next_character_count_reset_unix": None,
        "voice_slots_used": 0,
        "professional_voice_slots_used": 0,
        "voice_limit": len(PREMADE),
        "voice_add_edit_counter": 0,
        "max_voice_add_edits": 0,
        "professional_voice_limit": 0,
        "can_extend_voice_limit": False,
        "can_use_instant_voice_cloning": False,
        "can_use_professional_voice_cloning": False,
        "currency": None,
        "status": "active",
        "billing_period": None,
        "character_refresh_period": None,
        "open_invoices": [],
        "has_open_invoices": False,
        "next_invoice": None,
    }

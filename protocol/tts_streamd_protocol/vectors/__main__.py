"""Write the pinned files anew: ``python -m tts_streamd_protocol.vectors``."""

from __future__ import annotations

from pathlib import Path

from tts_streamd_protocol.vectors.tables import documents


def main() -> None:
    """Replace the JSON files beside this one."""
    for name, document in documents().items():
        Path(__file__).with_name(name).write_text(document, encoding="utf-8")


if __name__ == "__main__":
    main()

"""``python -m tts_streamd_engine``: the same as the command ``tts-streamd-engine``."""

import sys

from tts_streamd_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())

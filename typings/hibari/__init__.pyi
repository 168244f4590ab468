from typing import Any

import numpy as np
from numpy.typing import NDArray

class Hibari:
    def __init__(self, voice: str = ..., model: str | None = None, threads: int = 1, g2p: Any = None) -> None: ...
    def __call__(self, text: str, speed: float = 1.0, seed: int | None = None) -> NDArray[np.float32]: ...

"""The built-in model: a small Stable Diffusion 1.x that draws one-person cartoons, so that everything runs offline.

It is an ordinary single-file checkpoint, loaded by the same code as any other; `data/` is a models folder.
"""

from __future__ import annotations

from pathlib import Path

BUILT_IN_FOLDER = Path(__file__).parent / "data"
BUILT_IN_NAME = "hires-pocket.safetensors"
INPAINTING_NAME = "hires-pocket-inpainting.safetensors"
"""The same with nine channels, which fills holes."""
CHECKPOINTS = (BUILT_IN_NAME, INPAINTING_NAME)
GUIDANCE = 3.0
"""The guidance scale at which it draws best (docs/built-in-model.md): more breaks faces sooner."""


def after_own(name: str) -> int:
    """Where a checkpoint stands in a choice: the user's own first (0), then the built-in model, then its inpainting
    version."""
    return CHECKPOINTS.index(name) + 1 if name in CHECKPOINTS else 0

"""Pictures on their way out."""

from __future__ import annotations

import base64


def encoded(data: bytes) -> str:
    """As it stands in an answer: base64 without a prefix."""
    return base64.b64encode(data).decode("ascii")

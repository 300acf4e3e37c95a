"""The real tokenizer in tests: the package of the extra `tokenizer`, which `make dev` brings."""

from __future__ import annotations

import platform
import sys

import pytest

needs_tokenizer = pytest.mark.skipif(
    sys.platform == "darwin" and platform.machine() != "arm64",
    reason="bpe-openai has no wheel for Macs with Intel's chips",
)

"""What a request consists of: text, images, audio; and whether all of its text could be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.jobs.spec import Modality
from router_service.signals.request import messages_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

PARTIAL = "text.partial"  # flags may be missing: not all of the text was looked at

_MODALITY = {
    "text": Modality.TEXT,
    "refusal": Modality.TEXT,
    "image_url": Modality.IMAGE,
    "input_audio": Modality.AUDIO,
}


class Form:
    """`modalities`, and the flag `text.partial`."""

    name = "form"
    version = "2"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        return [
            {"modalities": modalities(request), "flags": [PARTIAL] if request.is_partial else []}
            for request in requests
        ]


def modalities(request: Request) -> list[str]:
    kinds = {part.get("type") for message in messages_of(request.body) for part in parts_of(message)}
    return sorted({_MODALITY[kind] for kind in kinds if isinstance(kind, str) and kind in _MODALITY})

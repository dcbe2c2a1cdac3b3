"""Reading of a request's conditions: from files or objects to images and clips of the request's size."""

from __future__ import annotations

from videogen.backbones.given import Given
from videogen.request.resolved import ResolvedRequest


def read_conditions(request: ResolvedRequest) -> tuple[Given, ...]:
    """Each condition as the backbone takes it: PIL images, or lists of them, of the request's width and height."""
    return tuple(Given(kind, value, frame, name) for kind, name, frame, value in request.conditions.items())

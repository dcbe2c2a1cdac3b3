"""Flow fields by formula, under which warped noise is measured: [steps, 2, height, width] in px.

For motions of clips see `videogen.motion`.
"""

from __future__ import annotations

import math

import torch

Matrix = tuple[tuple[float, float], tuple[float, float]]


def pan(dx: float, dy: float, steps: int, height: int, width: int) -> torch.Tensor:
    """Everything moves by (dx, dy) px per frame."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(steps, 2, height, width)


def affine(matrix: Matrix, steps: int, height: int, width: int) -> torch.Tensor:
    """x -> matrix x about the centre, in each frame."""
    y, x = _centred_grid(height, width)
    (a, b), (c, d) = matrix
    return torch.stack([a * x + b * y - x, c * x + d * y - y])[None].expand(steps, -1, -1, -1)


def rotation_zoom(degrees: float, zoom: float = 1.0) -> Matrix:
    """A rotation and a zoom as a matrix."""
    c, s = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    return (c, -s), (s, c)


def wave(steps: int, height: int, width: int) -> torch.Tensor:
    """Lines of the frame swing by up to 3 px per frame."""
    y, x = _centred_grid(height, width)
    return torch.stack([3 * torch.sin(y / 9), 2 * torch.cos(x / 7)])[None].expand(steps, -1, -1, -1)


def random_flow(steps: int, height: int, width: int) -> torch.Tensor:
    """Each pixel moves on its own, 3 px (standard deviation) along each axis."""
    return 3 * torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(0)).expand(steps, -1, -1, -1)


def there_and_back(matrix: Matrix, steps: int, size: int) -> torch.Tensor:
    """As many frames of a matrix as of its inverse."""
    (a, b), (c, d) = torch.linalg.inv(torch.tensor(matrix)).tolist()
    return torch.cat([affine(matrix, steps, size, size), affine(((a, b), (c, d)), steps, size, size)])


MATRICES: dict[str, Matrix] = {
    "zoom in": rotation_zoom(0, 1.15),
    "zoom out": rotation_zoom(0, 1 / 1.15),
    "rotation": rotation_zoom(9),
    "shear": ((1, 0.2), (0, 1)),
}


def source_positions(matrix: Matrix, steps: int, height: int, width: int) -> torch.Tensor:
    """Position (x, y) in the first frame of each pixel after `steps` steps of a matrix, [height, width, 2]."""
    (a, b), (c, d) = torch.linalg.matrix_power(torch.tensor(matrix, dtype=torch.float64), -steps).tolist()
    y, x = _centred_grid(height, width)
    return torch.stack([a * x + b * y + width / 2, c * x + d * y + height / 2], -1)


def all_kinds(steps: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Every kind of motion that noise must stay white under, as strong as a few steps allow."""
    shape = (steps, height, width)
    return {
        "pan": pan(1.37, -0.6, *shape),
        "slow pan": pan(0.17, 0, *shape),
        **{name: affine(matrix, *shape) for name, matrix in MATRICES.items()},
        "wave": wave(*shape),
        "random flow": random_flow(*shape),
        "everything to one point": affine(((0, 0), (0, 0)), *shape),
        "everything out of the frame": pan(1e4, 0, *shape),
    }


def _centred_grid(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """y and x [height, width] of pixels from the centre."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - height / 2, torch.arange(width) + 0.5 - width / 2, indexing="ij")
    return y, x

"""Images of the documentation: `python -m tools.comfyui images` a workflow in a browser, and frames of clips."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from .browser import open_page, screen
from .making import FOLDER
from .server import Server

IMAGES = FOLDER.parent / "docs" / "images"
GRAPH, CLIPS = "drag", ("cut_and_drag", "tracks", "transfer", "sparse_attention")
_HIDDEN = ("Comfy.Minimap.Visible", "Comfy.RightSidePanel.IsOpen", "Comfy.Graph.CanvasInfo")
_COLOURS, _GAP_PX = 128, 12
_SIZE = (1700, 800)
_MARGIN_PX = 24
_NOTICE_MS = 8000  # how long the notice of a completed run is there


def write_images(server: Server) -> None:
    """Write the image of a workflow and the sheet of clips."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    _save(join_thumbnails(), "comfyui_clips.png")
    for name in _HIDDEN:
        server.post(f"api/settings/{name}", False)
    with open_page(server, *_SIZE) as page:
        _save(_graph_image(server, page, GRAPH), "comfyui_graph.png")


def join_thumbnails() -> Image.Image:
    """The thumbnails of some examples, side by side."""
    images = [Image.open(FOLDER / f"{name}.jpg") for name in CLIPS]
    width = sum(one.width + _GAP_PX for one in images) - _GAP_PX
    sheet = Image.new("RGB", (width, images[0].height), (255, 255, 255))
    left = 0
    for one in images:
        sheet.paste(one, (left, 0))
        left += one.width + _GAP_PX
    return sheet


def _graph_image(server: Server, page: Any, name: str) -> Image.Image:
    """The graph after a run, without the frontend's bars."""
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    workflow["nodes"] = [node for node in workflow["nodes"] if node["type"] != "MarkdownNote"]
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_timeout(1000)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_timeout(2000)
    while any(server.get("queue").values()):
        page.wait_for_timeout(500)
    page.wait_for_timeout(_NOTICE_MS)
    image = Image.open(io.BytesIO(screen(page, (60, 30, 30, 90))))
    return image.crop((60 + _MARGIN_PX // 2, 40, image.width, image.height))


def _save(image: Image.Image, name: str) -> None:
    image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)

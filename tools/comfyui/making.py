"""Files of the example workflows, made on a running server: `python -m tools.comfyui workflows`.

Each graph is run, its clip is judged, and four of its frames become the thumbnail; a browser writes the workflow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.judge import judge
from videogen import Video

from .browser import open_page, to_graph, to_workflow
from .examples import EXAMPLES
from .graphs import Api, Example
from .server import Server

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
_PANEL_PX, _GAP_PX, _QUALITY = 190, 4, 85


def write_workflows(server: Server, names: Sequence[str] = ()) -> None:
    """Write the workflow and the thumbnail of each example, or of some."""
    FOLDER.mkdir(exist_ok=True)
    chosen = [one for one in EXAMPLES if not names or one.name in names]
    for example in chosen:
        frames = render_example(server, example)
        print(f"{example.name}: {why_wrong(example, frames) or 'as its prompt says'}")
        thumbnail(frames).save(FOLDER / f"{example.name}.jpg", quality=_QUALITY)
    with open_page(server) as page:
        for example in chosen:
            graph = example.build(example)
            workflow = to_workflow(page, graph, example.name, note_of(example))
            check_same(graph, to_graph(page, workflow))
            text = json.dumps(workflow, separators=(",", ":"), ensure_ascii=False)
            (FOLDER / f"{example.name}.json").write_text(text + "\n", encoding="utf-8")


def note_of(example: Example) -> str:
    """The text of a workflow's note."""
    model = "It samples the model that comes with videogen: no download, under a minute on a CPU."
    return f"{example.description}.\n\n{model}"


def render_example(server: Server, example: Example) -> np.ndarray:
    """The clip uint8 [f, h, w, 3] of an example."""
    return render_graph(server, example.build(example))


def render_graph(server: Server, graph: Api) -> np.ndarray:
    """The clip uint8 [f, h, w, 3] that a graph saves."""
    outputs = server.run(graph)
    (file,) = (one for found in outputs.values() for one in found.get("images", ()) if one["filename"].endswith(".mp4"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(server.download(file))
        return np.asarray(Video.open(path).frames)


def render_images(server: Server, graph: Api) -> np.ndarray:
    """The frames uint8 [f, h, w, 3] of the clip that a graph saves, without the losses of its file."""
    (clip,) = (node for node in graph.values() if node["class_type"] == "CreateVideo")
    left = {name: node for name, node in graph.items() if node["class_type"] not in ("CreateVideo", "SaveVideo")}
    left["frames"] = {"class_type": "PreviewImage", "inputs": {"images": clip["inputs"]["images"]}}
    files = server.run(left)["frames"]["images"]
    return np.stack([np.asarray(Image.open(BytesIO(server.download(file)))) for file in files])


def why_wrong(example: Example, frames: np.ndarray) -> str:
    """What the judge finds that the prompt does not say; empty where both agree."""
    verdict = judge(frames)
    found = {name: getattr(verdict, name) for name in example.checks}
    wrong = {name: value for name, value in found.items() if value is None or value not in example.prompt}
    return ", ".join(f"{name} {value}" for name, value in wrong.items())


def thumbnail(frames: np.ndarray) -> Image.Image:
    """Four frames of a clip, two by two."""
    side = 2 * _PANEL_PX + _GAP_PX
    sheet = Image.new("RGB", (side, side), (32, 32, 32))
    for place, index in enumerate(np.linspace(0, len(frames) - 1, 4).round().astype(int)):
        panel = Image.fromarray(frames[index]).resize((_PANEL_PX, _PANEL_PX), Image.Resampling.NEAREST)
        sheet.paste(panel, tuple((_PANEL_PX + _GAP_PX) * offset for offset in (place % 2, place // 2)))
    return sheet


def check_same(graph: Api, found: Api) -> None:
    """ValueError where the frontend sends other values than the graph's; its default of further inputs may be there."""
    for name, node in graph.items():
        sent: dict[str, Any] = found.get(name, {}).get("inputs", {})
        other = {key: sent.get(key) for key, value in node["inputs"].items() if sent.get(key) != value}
        if other:
            raise ValueError(f"node {name} {node['class_type']}: the frontend sends {other}")

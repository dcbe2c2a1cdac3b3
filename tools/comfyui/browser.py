"""ComfyUI's frontend in a browser: graphs as workflows, and screenshots.

Needs the package `playwright` and a Chromium of the system: no browser is downloaded, and no request leaves the
machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .graphs import Api
from .layout import place
from .server import Server

_ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("http://127.0.0.1", "http://localhost", "data:", "blob:")
_SETTLE_MS, _NOTE_PX = 3000, 180
_PREPARE = """() => {
  for (const one of app.graph.nodes) {
    one.size[0] = Math.max(one.size[0], 60 + 8 * one.title.length)
    if (one.type === "CLIPTextEncode") one.size[1] = 120
    if (one.type === "VideogenMotionPreview" || one.type === "SaveVideo") one.size[1] += 230  // what they play
    if (one.type === "VideogenRunReport") [one.size[0], one.size[1]] = [460, 460]  // its text and plots
    for (const widget of one.widgets ?? []) if (widget.name === "control_after_generate") widget.value = "fixed"
  }
}"""
_ADD_NOTE = """([text, position]) => {
  const note = LiteGraph.createNode("MarkdownNote")
  note.title = "About this workflow"
  note.pos = position
  note.size = [520, 110]
  app.graph.add(note)
  note.widgets[0].value = text
  app.canvas.setDirty(true, true)
}"""
_SIZES = """() => Object.fromEntries(app.graph.nodes.map(one => [String(one.id), [one.size[0], one.size[1]]]))"""
_LINKS = """() => [...app.graph.links.values()].map(one => [String(one.origin_id), String(one.target_id)])"""
_PLACE = """found => {
  for (const one of app.graph.nodes) one.pos = found[String(one.id)]
  app.canvas.setDirty(true, true)
}"""
_FIT = """padding => {
  const nodes = app.graph.nodes, scale = app.canvas.ds
  const left = Math.min(...nodes.map(n => n.pos[0])), top = Math.min(...nodes.map(n => n.pos[1] - 30))
  const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0]))
  const low = Math.max(...nodes.map(n => n.pos[1] + n.size[1]))
  const wide = window.innerWidth - padding[1] - padding[3], high = window.innerHeight - padding[0] - padding[2]
  scale.scale = Math.min(wide / (right - left), high / (low - top), 1)
  scale.offset[0] = (padding[3] + wide / 2) / scale.scale - (left + right) / 2
  scale.offset[1] = (padding[0] + high / 2) / scale.scale - (top + low) / 2
  app.canvas.setDirty(true, true)
}"""


@contextmanager
def open_page(server: Server, width: int = 1600, height: int = 900) -> Iterator[Any]:
    """ComfyUI's page, ready for use."""
    from playwright.sync_api import sync_playwright

    server.post("api/settings/Comfy.TutorialCompleted", True)  # else it begins with a dialog
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        raise FileNotFoundError("no Chromium is installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(120_000)
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(_LOCAL) else route.abort())
        page.goto(server.url)
        page.wait_for_function("() => window.app?.graph && window.app.extensionManager")
        page.wait_for_timeout(_SETTLE_MS)
        try:
            yield page
        finally:
            browser.close()


def to_workflow(page: Any, graph: Api, name: str, note: str) -> dict[str, Any]:
    """A graph as the frontend's workflow, arranged, with a note above it."""
    page.evaluate("([graph, name]) => app.loadApiJson(graph, name)", [graph, name])
    page.wait_for_timeout(500)
    page.evaluate(_PREPARE)
    found = place(page.evaluate(_SIZES), page.evaluate(_LINKS))
    page.evaluate(_PLACE, found)
    page.evaluate(_ADD_NOTE, [note, [0, min(y for _, y in found.values()) - _NOTE_PX]])
    page.wait_for_timeout(500)
    workflow: dict[str, Any] = page.evaluate("() => app.graph.serialize()")
    return workflow


def to_graph(page: Any, workflow: dict[str, Any]) -> Api:
    """What the frontend sends to the server for a workflow."""
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_timeout(500)
    graph: Api = page.evaluate("async () => (await app.graphToPrompt()).output")
    return graph


def screen(page: Any, padding: tuple[int, int, int, int] = (90, 40, 60, 80)) -> bytes:
    """A PNG of the page with all nodes in view. padding: above, right, below, left, in px."""
    page.evaluate(_FIT, list(padding))
    page.wait_for_timeout(1000)
    return bytes(page.screenshot())

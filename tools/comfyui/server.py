"""A running ComfyUI server, by its HTTP interface."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

_WAIT_S, _FORGET_S = 0.5, 3


class Rejected(Exception):
    """The server refused a graph. errors: by node id."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer, indent=1)[:2000])
        self.errors: dict[str, Any] = answer.get("node_errors") or {}


class Server:
    """url: such as http://127.0.0.1:8188."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a path."""
        return json.loads(self.read(path, **query))

    def read(self, path: str, **query: Any) -> bytes:
        with urlopen(f"{self.url}/{path}" + (f"?{urlencode(query)}" if query else ""), timeout=60) as answer:
            return bytes(answer.read())

    def post(self, path: str, body: Any) -> Any:
        request = Request(f"{self.url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=60) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except HTTPError as error:
            raise Rejected(json.loads(error.read() or b"{}")) from error

    def queue(self, graph: dict[str, Any]) -> str:
        """The number of a run that was accepted. Rejected where any node is refused, even if others can run."""
        answer: dict[str, Any] = self.post("prompt", {"prompt": graph, "client_id": "tools.comfyui"})
        if answer.get("node_errors"):
            raise Rejected(answer)
        return str(answer["prompt_id"])

    def forget(self) -> None:
        """Drop the results of earlier runs, so that the next one computes everything."""
        self.post("free", {"unload_models": True, "free_memory": True})
        time.sleep(_FORGET_S)

    def run(self, graph: dict[str, Any], timeout_s: float = 600) -> dict[str, Any]:
        """Outputs by node id. Rejected where the graph is not accepted; RuntimeError where a node fails."""
        number = self.queue(graph)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.get(f"history/{number}").get(number)
            if found is not None:
                for kind, message in found["status"]["messages"]:
                    if kind == "execution_error":
                        raise RuntimeError(f"{message['node_type']}: {message['exception_message']}")
                outputs: dict[str, Any] = found["outputs"]
                return outputs
            time.sleep(_WAIT_S)
        raise TimeoutError(f"{number} is still running after {timeout_s} s")

    def download(self, file: dict[str, str]) -> bytes:
        """An output file, by its entry in a node's output."""
        return self.read("view", filename=file["filename"], subfolder=file["subfolder"], type=file["type"])

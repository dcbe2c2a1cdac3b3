"""Hand-over between the engine and a pipeline that runs, suspended, in a thread of its own.

At any time exactly one of the two runs: the engine until it resumes the pipeline, the pipeline until it asks the engine
for something. Errors cross over. Abandoning the run raises `Abandoned` inside the pipeline where it next asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


class Abandoned(BaseException):
    """Ends a suspended pipeline. Not an Exception, so that a pipeline's own `except Exception` does not hold it up."""


@dataclass(frozen=True)
class Question:
    """The pipeline waits for an answer. what: which kind of answer; payload: what it depends on."""

    what: str
    payload: Any = None


@dataclass(frozen=True)
class Returned:
    """The pipeline has ended with this result."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The pipeline has ended with this error."""

    error: BaseException


class Handover:
    """A suspended run of `body`, which is given this object to ask through.

    The thread has the gradient mode, autocast and device of the thread that opened it; they are per thread in torch.
    """

    def __init__(self, body: Callable[[Handover], Any]) -> None:
        self._body, self._modes = body, _TorchModes()
        self._to_pipeline, self._to_engine = threading.Semaphore(0), threading.Semaphore(0)
        self._answer: Any = None
        self._message: Question | Returned | Failed | None = None
        self._abandoned = False
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="pipeline", daemon=True)

    @property
    def has_ended(self) -> bool:
        return isinstance(self._message, Returned | Failed)

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned

    # the engine's side

    def begin(self) -> Question | Returned:
        """Run the pipeline until it asks for something, or ends. Raises what it raises."""
        assert self._thread is not None
        self._thread.start()
        return self._wait()

    def resume(self, answer: Any) -> Question | Returned:
        """Answer the pipeline, and run it until it asks again, or ends. Raises what it raises."""
        assert not self.has_ended, "the pipeline has ended"
        self._answer = answer
        self._to_pipeline.release()
        return self._wait()

    def abandon(self) -> None:
        """End the pipeline where it is suspended; where it still computes, at its next model call. Safe to call
        twice."""
        self._abandoned = True
        thread, self._thread = self._thread, None
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return
        self._to_pipeline.release()
        thread.join()
        self._answer = self._message = None

    def _wait(self) -> Question | Returned:
        self._to_engine.acquire()
        message = self._message
        if isinstance(message, Failed):
            raise message.error
        assert message is not None
        return message

    # the pipeline's side

    def ask(self, what: str, payload: Any = None) -> Any:
        """Suspend the pipeline until the engine answers."""
        self.check()
        self._message = Question(what, payload)
        self._to_engine.release()
        self._to_pipeline.acquire()
        self.check()
        answer, self._answer = self._answer, None
        return answer

    def check(self) -> None:
        """Raise Abandoned where the engine has given the run up."""
        if self._abandoned:
            raise Abandoned

    def _run(self) -> None:
        try:
            with self._modes:
                message: Returned | Failed = Returned(self._body(self))
        except Abandoned:
            message = Returned(None)  # without the error, whose traceback would hold all that the pipeline held
        except BaseException as error:
            message = Failed(error)
        self._body = _nothing  # frees what it refers to
        self._message = message
        self._to_engine.release()


def _nothing(handover: Handover) -> None:
    return None


class _TorchModes:
    """The modes of torch that are per thread, as they are where this is made; entered in another thread."""

    def __init__(self) -> None:
        self._inference, self._gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        self._autocast = [
            (kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind)
        ]  # fmt: skip
        self._entered: list[Any] = []

    def __enter__(self) -> None:
        if self._device is not None:
            torch.cuda.set_device(self._device)
        modes: list[Any] = [
            torch.inference_mode(self._inference),
            torch.set_grad_enabled(self._gradients and not self._inference),
        ]
        modes += [torch.autocast(kind, dtype) for kind, dtype in self._autocast]
        for mode in modes:
            mode.__enter__()
            self._entered.append(mode)

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._entered):
            mode.__exit__(*error)

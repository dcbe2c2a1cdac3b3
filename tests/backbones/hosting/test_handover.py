"""Hand-over to a suspended function: questions and answers, errors, giving it up."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import pytest
import torch

from videogen.backbones.hosting.handover import Abandoned, Handover, Question, Returned


def test_questions_and_answers_alternate() -> None:
    answers: list[Any] = []

    def body(handover: Handover) -> str:
        answers.append(handover.ask("first", 1))
        answers.append(handover.ask("second", 2))
        return "done"

    handover = Handover(body)
    assert handover.begin() == Question("first", 1)
    assert handover.resume("a") == Question("second", 2)
    assert handover.resume("b") == Returned("done")
    assert answers == ["a", "b"] and handover.has_ended


def test_an_error_crosses_over_with_its_traceback() -> None:
    def body(handover: Handover) -> None:
        handover.ask("first")
        raise ValueError("in the pipeline")

    handover = Handover(body)
    handover.begin()
    with pytest.raises(ValueError, match="in the pipeline") as caught:
        handover.resume(None)
    assert any(entry.name == "body" for entry in caught.traceback)


def test_abandoning_ends_the_function_where_it_waits_and_runs_its_finally_part() -> None:
    ended: list[type[BaseException]] = []

    def body(handover: Handover) -> None:
        try:
            handover.ask("first")
        except Exception:  # a pipeline's own handler does not hold it up
            ended.append(Exception)
        except BaseException as error:
            ended.append(type(error))
            raise

    handover, threads = Handover(body), threading.active_count()
    handover.begin()
    handover.abandon()
    handover.abandon()
    assert ended == [Abandoned] and threading.active_count() == threads


def test_a_run_can_be_abandoned_before_its_first_question() -> None:
    handover = Handover(lambda handover: None)
    handover.abandon()
    assert handover.is_abandoned and not handover.has_ended


def test_a_function_that_still_computes_ends_at_its_next_question() -> None:
    """The engine is interrupted while it waits, as by Ctrl-C."""
    computing, proceed = threading.Event(), threading.Event()

    def body(handover: Handover) -> None:
        handover.ask("first")
        computing.set()
        proceed.wait()
        handover.ask("second")

    handover = Handover(body)
    handover.begin()
    handover._answer = None
    handover._to_pipeline.release()  # the engine's `resume` was interrupted before an answer came
    computing.wait()
    abandoning = threading.Thread(target=handover.abandon)
    abandoning.start()
    proceed.set()
    abandoning.join(60)
    assert not abandoning.is_alive() and handover.is_abandoned


def test_nothing_is_held_after_abandoning() -> None:
    class Big:
        pass

    big = Big()
    held = weakref.ref(big)

    def body(handover: Handover, big: Any = big) -> None:
        handover.ask("first", big)

    handover = Handover(body)
    handover.begin()
    handover.abandon()
    del big, body
    assert held() is None


@pytest.mark.parametrize("inference", [True, False])
def test_the_function_has_the_gradient_mode_of_its_caller(inference: bool) -> None:
    with torch.inference_mode(inference):
        handover = Handover(lambda handover: (torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        result = handover.begin()
    assert result == Returned((inference, not inference))

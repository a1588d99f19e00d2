"""Interactive calls that are not for this backend."""

from __future__ import annotations

import pytest

from backend.runtime import Runtime
from backend.service.model import RefAMBackend
from tests.backend.predict_requests import VIDEO_CONFIG, task

WITH_COMMENT = VIDEO_CONFIG.replace("<Labels", '<TextArea name="comment" toName="v"/><Labels', 1)


@pytest.mark.parametrize("words", ["the ring", "the green dragon"])
def test_a_comment_is_neither_searched_for_nor_rewritten(runtime, words):
    comment = {"id": "c", "type": "textarea", "from_name": "comment", "to_name": "v", "value": {"text": [words]}}
    backend = RefAMBackend(runtime=runtime)
    assert backend.predict([task(1)], context={"result": [comment]}, label_config=WITH_COMMENT) == []
    assert runtime.queue.records() == []
    (answer,) = backend.predict(
        [task(1)], context={"result": [comment | {"from_name": "say"}]}, label_config=WITH_COMMENT
    )
    assert answer["result"]


def typed(words):
    return {"result": [{"id": "c", "type": "textarea", "from_name": "say", "to_name": "v", "value": {"text": [words]}}]}


@pytest.mark.parametrize("context", [None, typed("the xyzzy")])
def test_unknown_words_are_refused_without_the_video(context, runtime, monkeypatch):
    """The vocabularies of the models that ship decide; the video, which does not exist, is never asked for."""
    monkeypatch.setattr(type(runtime), "check_words", Runtime.check_words)
    asked = task(1, "the xyzzy", video="no-such.mp4")
    answers = RefAMBackend(runtime=runtime).predict([asked], context=context, label_config=WITH_COMMENT)
    (record,) = runtime.queue.records()
    assert (record.refused, record.title) == (True, "the xyzzy")
    assert "knows none of the words 'xyzzy'; it knows what `refam words` lists" in record.error
    assert answers == ([] if context else [{"error": record.error}])


def test_a_label_that_the_project_does_not_have_is_on_the_jobs_page_and_logged_once(runtime, caplog):
    backend = RefAMBackend(runtime=runtime)
    assert backend.predict([task(1)], context=typed("Nonsense: the star"), label_config=WITH_COMMENT) == []
    (record,) = runtime.queue.records()
    assert (record.refused, record.title) == (True, "Nonsense: the star")
    assert "this project has no label 'Nonsense'; it has: " in record.error
    assert [line.message for line in caplog.records] == [f"task 1: {record.error}"]

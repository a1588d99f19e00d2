"""Interactive calls that are not for this backend."""

from __future__ import annotations

import pytest

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

"""Requests for predictions, and how to slow them down and wait for them."""

from __future__ import annotations

import threading
import time

from backend.service.model import RefAMBackend

VIDEO_CONFIG = """<View><TextArea name="say" toName="v" value="$prompt"/>
<Labels name="l" toName="v"><Label value="Star"/></Labels>
<Video name="v" value="$video" frameRate="25"/><VideoRectangle name="box" toName="v"/></View>"""


def task(identity, words="the star", video="good.mp4"):
    return {"id": identity, "data": {"video": video, "prompt": words}}


def predict(runtime, *tasks, context=None, config=VIDEO_CONFIG):
    return RefAMBackend(runtime=runtime).predict(tasks, context=context, label_config=config, project="1.1")


def slow_down(runtime, monkeypatch, seconds):
    """Objects whose words hold a number of seconds take that long."""
    run = runtime.truth.run

    def slowly(clip, targets, progress, **kwargs):
        for i in range(20):
            progress("track", i / 20)
            time.sleep(seconds.get(targets[0].words, 0) / 20)
        return run(clip, targets, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", slowly)


def hold_back(runtime, monkeypatch, *words):
    """Objects of these words are not finished before the event that is returned is set, or their job is cancelled."""
    run, released = runtime.truth.run, threading.Event()

    def held(clip, targets, progress, **kwargs):
        while targets[0].words in words and not released.wait(0.05):
            progress("track", 0.5)
        return run(clip, targets, progress=progress, **kwargs)

    monkeypatch.setattr(runtime.truth, "run", held)
    return released


def wait_until(true, *, timeout_s=60.0):
    """Wait for a condition; fail if it does not hold in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and not true():
        time.sleep(0.02)
    assert true()

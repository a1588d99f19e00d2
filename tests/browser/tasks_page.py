"""Label Studio's page of a project's tasks in a real browser: what an annotator clicks there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response

from backend.demo.local_studio import LocalStudio


class TasksPage:
    """The data manager of one project, in a page that is logged in."""

    def __init__(self, page: Page, studio: LocalStudio, project: int) -> None:
        self.page = page
        self._address = f"{studio.url}/projects/{project}/data"

    def open(self) -> None:
        """Goes there and waits for the toolbar."""
        self.page.goto(self._address)
        self.page.get_by_label("export button").wait_for()

    def import_file(self, path: Path) -> None:
        """The import dialogue, from the file to the list of tasks."""
        self.page.goto(self._address + "/import")
        self.page.set_input_files("input[type=file]", path)
        self.page.get_by_text("1 files uploaded").wait_for()
        with self.page.expect_response(lambda r: r.url.endswith("/import") or "/reimport" in r.url, timeout=60_000):
            self.page.get_by_role("button", name="Import").last.click()
        self.page.get_by_text(str(path.name)).wait_for(state="hidden")

    def retrieve_predictions(self, count: int) -> dict[str, Any]:
        """All tasks selected, then the action "Retrieve Predictions", confirmed -> what the page is answered."""
        everything = self.page.locator("input[type=checkbox]").first
        everything.wait_for(state="attached")
        everything.click(force=True)
        self.page.locator("button", has_text=f"{count} Tasks").first.click()
        self.page.get_by_text("Retrieve Predictions").click()

        def carried_out(response: Response) -> bool:
            return "id=retrieve_tasks_predictions" in response.url and response.request.method == "POST"

        with self.page.expect_response(carried_out, timeout=120_000) as answer:
            self.page.locator("button", has_text="OK").last.click()
        body: dict[str, Any] = answer.value.json()
        return body

    def export(self, out: Path) -> list[dict[str, Any]]:
        """The export dialogue, with JSON, its first choice -> the tasks in the file that the browser saves to `out`."""
        self.page.get_by_label("export button").click()
        with self.page.expect_download(timeout=60_000) as saved:
            self.page.get_by_label("Export data").click()
        saved.value.save_as(out)
        tasks: list[dict[str, Any]] = json.loads(out.read_text())
        return tasks

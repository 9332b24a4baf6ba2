"""Renders pictures of searches into docs/images: the page of one, its runs in MLflow, Optuna's dashboard.

Run it after `qlcnet tune`, in the project's folder: `python docs/search_screenshots.py [DASHBOARD]`, where DASHBOARD is
the `optuna-dashboard` of an environment of its own; without it that picture is left out. Needs what screenshots.py
needs.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from screenshots import OF_RUNS, PATIENCE, WIDTH, browser, mlflow_ui, picture_of_report, picture_of_runs
from selenium import webdriver

from qlcnet.paths import Project


def picture_of_dashboard(driver: webdriver.Chrome, command: str, journal: Path, target: Path) -> None:
    """The first study of a journal, as the dashboard shows it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen([command, str(journal), "--port", str(port), "--host", "127.0.0.1"])
    try:
        address, deadline = f"http://127.0.0.1:{port}/dashboard/studies/0", time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        driver.set_window_size(WIDTH, OF_RUNS)
        driver.get(address)
        time.sleep(20)  # its plots are drawn after the page has loaded
        driver.save_screenshot(str(target))
    finally:
        server.terminate()
        server.wait()


def main(command: str | None) -> int:
    """Render the pictures; 1 where the search's page logged an error."""
    project, images = Project.find(), Path(__file__).parent / "images"
    page = max((project.results / "search").glob("*/search.html"), key=lambda path: path.stat().st_mtime)
    with browser() as driver:
        errors = picture_of_report(driver, page, images / "search.png")
        if command:
            journal = max(project.searches.glob("*.log"), key=lambda path: path.stat().st_mtime)
            picture_of_dashboard(driver, command, journal, images / "optuna-dashboard.png")
        with mlflow_ui(project.root) as address:
            picture_of_runs(driver, address, images / "search-mlflow.png")
    sys.stderr.writelines(error + "\n" for error in errors)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))

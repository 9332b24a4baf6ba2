"""Renders docs/images/report.png and docs/images/mlflow.png from results/ and mlruns/, in a headless Chromium.

Run it after `dvc repro`, in the project's folder: `python docs/screenshots.py`. Needs the `dev` extra, and Chromium
with its driver (Debian: chromium, chromium-driver). Exits with 1 where the report logs an error in the console.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from qlcnet.paths import Project
from qlcnet.tracking import local_ui

WIDTH, OF_REPORT, OF_RUNS = 1500, 1800, 1100  # pixels: width, and height of each picture
PATIENCE = 120  # seconds: the UI's server imports MLflow, then the page loads several MB


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium that fetches nothing from elsewhere."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextlib.contextmanager
def mlflow_ui(root: Path) -> Iterator[str]:
    """The address of the runs in a UI that is served until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    ui = local_ui(root, port)
    # a process group of its own: the server leaves children behind when only their parent is killed
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(ui.command, env=ui.environment, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the MLflow UI does not answer")
            time.sleep(0.3)
        yield ui.page
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        return True
    return False


def picture_of_report(driver: webdriver.Chrome, page: Path, target: Path) -> list[str]:
    """The top of the report; returns the console's errors."""
    driver.set_window_size(WIDTH, OF_REPORT)
    driver.get(page.resolve().as_uri())
    WebDriverWait(driver, PATIENCE).until(lambda d: d.execute_script("return document.readyState") == "complete")
    driver.save_screenshot(str(target))
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def picture_of_runs(driver: webdriver.Chrome, address: str, target: Path) -> None:
    """The nested runs, unfolded."""
    driver.set_window_size(WIDTH, OF_RUNS)
    driver.get(address.partition("#")[0])
    driver.execute_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    driver.get(address)
    WebDriverWait(driver, PATIENCE).until(_parents)
    for number in range(len(_parents(driver))):
        _parents(driver)[number].click()
        time.sleep(1)  # the table is drawn anew
    driver.execute_script("document.querySelector('.ag-body-viewport').scrollTop = 0")
    time.sleep(1)
    driver.save_screenshot(str(target))


def _parents(driver: webdriver.Chrome) -> list[WebElement]:
    """What unfolds the children of a run."""
    return driver.find_elements(By.CSS_SELECTOR, "[role=row] [data-component-id*='runnamecellrenderer']")


def main() -> int:
    """Render both pictures; 1 where the report logged an error."""
    root, images = Project.find().root, Path(__file__).parent / "images"
    images.mkdir(exist_ok=True)
    with browser() as driver:
        errors = picture_of_report(driver, root / "results" / "report.html", images / "report.png")
        with mlflow_ui(root) as address:
            picture_of_runs(driver, address, images / "mlflow.png")
    sys.stderr.writelines(error + "\n" for error in errors)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

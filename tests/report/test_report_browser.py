"""The report in a real headless Chromium: no error, every figure drawn, tables sort, no request leaves the page."""

import json
import shutil
from pathlib import Path

import pytest

from qlcnet.report import build_report
from tests.report.fold_folders import make_params, make_study

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--window-size=1360,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium showing the report of a study whose three backbones are partly folded away."""
    from selenium import webdriver

    root = tmp_path_factory.mktemp("study")
    backbones = {"lcnet_050": {}, "lcnet_075": {}, "lcnet_100": {}}
    build_report(make_study(root, make_params(backbones=backbones)), root)
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        driver.get((root / "results/report.html").as_uri())
        yield driver
    finally:
        driver.quit()


def test_console_is_silent_and_nothing_is_requested(browser):
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert len([url for url in urls if url.startswith("file://")]) == 1
    own = ("file://", "data:", "chrome://", "chrome-extension://", "chrome-untrusted://")  # chrome: the empty tab
    assert [url for url in urls if not url.startswith(own)] == []


def test_every_figure_is_drawn_once_all_is_open(browser):
    button = browser.find_element("css selector", "#roc button.all")
    assert len(browser.find_elements("css selector", "#roc details[open]")) == 1
    button.click()
    assert len(browser.find_elements("css selector", "#roc details[open]")) == 3
    assert (button.text, button.get_attribute("aria-expanded")) == ("Close all", "true")
    for other in browser.find_elements("css selector", "#classes button.all, #training button.all"):
        other.click()
    sizes = browser.execute_script(
        """const parts = "path, image";
        return [...document.querySelectorAll("figure svg[role=img]")].map((svg) => {
          const box = svg.getBoundingClientRect();
          return [svg.getAttribute("aria-label"), box.width, box.height, svg.querySelectorAll(parts).length];
        });"""
    )
    assert len(sizes) == 1 + 4 + 4 * 3 + 2 + 2  # forest, metrics, four kinds a backbone, data, drawings
    assert [label for label, width, height, parts in sizes if width < 200 or height < 100 or parts < 4] == []
    images = "return [...document.images].map((i) => [i.alt, i.naturalWidth]);"
    assert [alt for alt, width in browser.execute_script(images) if width == 0] == []
    embedded = "return [...document.querySelectorAll('svg image')].map((i) => i.getBoundingClientRect().width);"
    assert min(browser.execute_script(embedded)) > 10


def test_tables_sort_by_click_and_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    header = browser.find_elements("css selector", "#results table.sortable th")[2]
    button = header.find_element("tag name", "button")
    assert button.text == "Accuracy"

    def column() -> list[float]:
        rows = browser.find_elements("css selector", "#results table.sortable tbody tr")
        return [float(row.find_elements("css selector", "th, td")[2].get_attribute("data-value")) for row in rows]

    before = column()
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before)
    assert column() != before
    button.send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)
    other = browser.find_elements("css selector", "#results table.sortable th")[3]
    other.find_element("tag name", "button").click()  # holds a dash: undefined values stay last
    assert header.get_attribute("aria-sort") is None
    last = browser.find_elements("css selector", "#results table.sortable tbody tr")[-1]
    assert "class shares" in last.text


@pytest.mark.parametrize("width", [1360, 420])
def test_page_is_never_wider_than_the_window(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth;")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == 0


def test_what_a_row_is_of_stays_in_sight_while_a_wide_table_is_scrolled(browser):
    metrics = {"width": 760, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    moved = browser.execute_script(
        """const wide = (one) => one.scrollWidth > one.clientWidth + 60;
        return [...document.querySelectorAll(".table")].filter(wide).map((one) => {
          const left = (query) => one.querySelector(query).getBoundingClientRect().left;
          const before = [left("tbody th"), left("tbody td")];
          one.scrollLeft = 50;
          return [left("tbody th") - before[0], left("tbody td") - before[1]];
        });"""
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert moved
    assert {tuple(map(round, one)) for one in moved} == {(0, -50)}


def test_captions_show_code_as_code(browser):
    captions = [one.text for one in browser.find_elements("css selector", "figcaption")]
    assert not [text for text in captions if "`" in text]


def test_follows_the_dark_theme(browser):
    colours = """const style = (query) => getComputedStyle(document.querySelector(query));
    return [style("body").backgroundColor, style("#results svg text").fill];"""
    seen = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        seen.append(browser.execute_script(colours))
    assert seen[0] == ["rgb(255, 255, 255)", "rgb(28, 32, 36)"]
    assert seen[1] == ["rgb(20, 24, 28)", "rgb(228, 232, 236)"]


def test_links_of_the_contents_lead_to_sections(browser):
    links = browser.find_elements("css selector", "nav a")
    assert [link.text for link in links][:3] == ["At a glance", "Comparisons", "The paper's claims"]
    for link in links:
        target = link.get_attribute("href").split("#")[1]
        assert browser.find_elements("css selector", f"section#{target} h2")


def test_the_file_is_self_contained(browser):
    path = Path(browser.current_url.removeprefix("file://").split("#")[0])
    assert path.stat().st_size < 2_000_000

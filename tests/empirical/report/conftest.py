"""One browser, and one page per study, for the tests of this folder."""

import importlib
import shutil
from collections.abc import Iterator

import pytest
from report_pages import LARGER, STUDY

from empirical.report.page import write_report


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> str:
    return write_report(STUDY, tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture(scope="session")
def assumed_page(tmp_path_factory) -> str:
    """The study without its overlaps: an agreement of filter and pool is assumed."""
    folder = tmp_path_factory.mktemp("assumed") / "study"
    shutil.copytree(STUDY, folder, ignore=shutil.ignore_patterns("overlaps.csv"))
    return write_report(folder, folder / "report.html").as_uri()


@pytest.fixture(scope="session")
def measured_page(tmp_path_factory) -> str:
    return write_report(LARGER, tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    try:
        webdriver = importlib.import_module("selenium.webdriver")
    except ModuleNotFoundError:
        pytest.fail(
            "no selenium here: the report is not tested; install it with: pip install -e '.[browser]'"
        )
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail(
            "no Chromium here: the report is not tested; install it with: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()

"""A real Chromium for tests, by Selenium and Debian's chromedriver; nothing of it is left behind."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/lib/chromium"])
_FLAGS = (  # no display, no sandbox of its own (it needs rights that a container lacks), and no network of its own
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
)


def programs() -> tuple[str | None, str | None]:
    """Paths of the browser and of its driver."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, (shutil.which(name, path=_PATH) for name in names)), None)
    return browser, shutil.which("chromedriver", path=_PATH)


def why_not() -> str | None:
    """The reason why there is no browser to test with, and what to type; None when there is one."""
    for name, path in zip(("chromium", "chromedriver"), programs(), strict=True):
        if path is None:
            return f"{name} is not installed; as root: apt-get install --no-install-recommends chromium chromium-driver"
    return None


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """A browser whose profile lies in `folder`, with its console and its network in the logs."""
    path, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = path
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()

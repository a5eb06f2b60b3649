"""Pages in a fresh headless Chromium, which asks no host of its own accord."""

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
    *("--disable-features=NetworkTimeServiceQuerying", "--enable-logging=stderr", "--v=0"),
]


def browse(address: str, folder: Path, *options: str, host: str = "") -> subprocess.CompletedProcess[str]:
    """Open a page; the finished process, with the console of the page in stderr.

    Args:
        folder: of the browser's profile and of net.json, the log of its network.
        host: the only one that has an address.
    """
    rules = "MAP * ~NOTFOUND" + (f", EXCLUDE {host}" if host else "")
    words = [str(BROWSER), *QUIET, f"--user-data-dir={folder}/profile", f"--log-net-log={folder}/net.json"]
    words += [f"--host-resolver-rules={rules}", "--virtual-time-budget=5000", *options, address]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)

"""A page in a real browser, Chromium, and what its console said. The browser is the fixture `chromium`."""

from __future__ import annotations

from typing import Any

SIZES = {"screen": (1280, 720), "phone": (390, 844)}


class Page:
    """A page in a window of the browser, where nothing is kept.

    Args:
        browser: the fixture `chromium`.
        address: of the page.
        size: of the window, one of `SIZES`.
        scheme: "light" or "dark".
        offline: whether there is no network.

    Attributes:
        tab: what playwright calls a page.
        said: what the console said, and errors that nobody caught.
        requests: the addresses that were asked for.
    """

    def __init__(
        self, browser: Any, address: str, size: str = "screen", scheme: str = "light", offline: bool = False
    ) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            has_touch=size == "phone",
            offline=offline,
        )
        self.tab = self.context.new_page()
        self.said: list[str] = []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.requests: list[str] = []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(address)

    def close(self) -> None:
        """Close the window, in which nothing is to have gone wrong."""
        assert self.said == []
        self.context.close()

"""Pages rendered by Chromium through scrapy-playwright."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeoutError
from scrapy.core.downloader.handlers._base_http import BaseHttpDownloadHandler
from scrapy.http import Response
from scrapy_playwright.handler import Config, ScrapyPlaywrightDownloadHandler
from scrapy_playwright.page import PageMethod
from scrapy_playwright.provider import PlaywrightBrowserProvider

from crawlers.browser import MISSING, find_chromium, launch_options
from crawlers.classify import failure_of_status, is_page_type
from crawlers.errors import FailureClass, FetchError
from crawlers.ports import Proxy as OutgoingProxy
from crawlers.scrapy_parts.proxy import GuardProxy
from crawlers.scrapy_parts.spider import run_of

if TYPE_CHECKING:
    from playwright.async_api import Page
    from playwright.async_api import Request as BrowserRequest
    from playwright.async_api import Response as BrowserResponse
    from scrapy import Request
    from scrapy.crawler import Crawler

NETWORK_IDLE_S = 5.0
"""At most so long the default wait goes on for pages whose network never rests."""
CLOSE_S = 10.0
_REFUSED_TYPES = frozenset({"image", "media", "font"})
_HARMLESS_SCHEMES = frozenset({"data", "blob", "about"})

_log = logging.getLogger(__name__)
# It logs a traceback for every page that fails; that is the incident's business.
logging.getLogger("scrapy-playwright").setLevel(logging.ERROR)


class ChromiumHandler(ScrapyPlaywrightDownloadHandler):  # type: ignore[misc]
    """scrapy-playwright without Twisted's reactor: its base class, Scrapy's own HTTP handler, is never used here.

    One browser per crawl, started with the first page.
    """

    def __init__(self, crawler: Crawler) -> None:
        # Not ScrapyPlaywrightDownloadHandler's own: it insists on an installed reactor.
        BaseHttpDownloadHandler.__init__(self, crawler)
        self._run = run_of(crawler)
        self.executable = find_chromium()
        if self.executable is None:
            _log.error("%s", MISSING)
        self.stats = crawler.stats
        self.config = Config.from_settings(crawler.settings)
        self.browser_provider = PlaywrightBrowserProvider(self.config)
        self.browser_launch_lock = asyncio.Lock()
        self.context_launch_lock = asyncio.Lock()
        self.context_wrappers: dict[str, Any] = {}
        self.process_request_headers = None
        self.abort_request = self._is_refused
        self._proxy = GuardProxy(self._run.guard, self._count)
        self._starting: asyncio.Task[None] | None = None
        self._wait_for = str(self._run.job.options.get("wait_for") or "")

    def _count(self, size: int) -> None:
        self._run.progress.bytes += size

    def use(self, proxy: OutgoingProxy | None) -> None:
        """New connections of the browser go through this proxy of the operator's."""
        self._proxy.upstream = proxy

    async def ready(self) -> None:
        """Starts the browser with the first page. A page that is cancelled meanwhile does not leave half of it."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        try:
            await asyncio.shield(self._starting)
        except (PlaywrightError, OSError) as error:
            detail = f"{self.executable} does not start: {str(error).splitlines()[0][:300]}"
            raise FetchError(FailureClass.BROWSER_MISSING, detail) from None

    async def _start(self) -> None:
        assert self.executable is not None
        await self._proxy.start()
        options = launch_options(self.executable)
        # The context's user agent does not reach every request that Chromium makes by itself; this one does.
        options["args"] = [*options["args"], f"--user-agent={self._run.job.user_agent}"]
        self.config.launch_options = {**options, "proxy": {"server": self._proxy.url}}
        await self.browser_provider.start()
        await self._maybe_launch_browser()

    async def download_request(self, request: Request) -> Response:
        """The rendered page. Raises FetchError."""
        if self.executable is None:
            raise FetchError(FailureClass.BROWSER_MISSING, MISSING)
        await self.ready()
        limits = self._run.job.limits
        pages: list[Page] = []
        answers: list[BrowserResponse] = []
        broken: list[str] = []

        async def prepare(page: Page, _: Request) -> None:
            pages.append(page)
            page.on("response", lambda seen: answers.append(seen) if _is_document(seen.request, page) else None)
            page.on("requestfailed", lambda seen: broken.append(seen.url) if _is_document(seen, page) else None)
            page.on("dialog", lambda dialog: dialog.dismiss())
            page.on("popup", lambda popup: popup.close())

        request.meta.update(
            playwright=True,
            playwright_context_kwargs={
                "user_agent": self._run.job.user_agent,
                "accept_downloads": False,
                "service_workers": "block",  # their requests would not be seen by the interception
            },
            playwright_page_goto_kwargs={"timeout": limits.timeout_s * 1000},
            playwright_page_init_callback=prepare,
            playwright_page_methods=[PageMethod(self._settle)],
        )
        try:
            async with asyncio.timeout(limits.timeout_s + NETWORK_IDLE_S):
                response: Response = await self._download_request(request, spider=self._run_spider())
        except (TimeoutError, PlaywrightTimeoutError):
            raise FetchError(FailureClass.TIMEOUT, f"the page took longer than {limits.timeout_s} s") from None
        except PlaywrightError as error:
            if "ERR_HTTP_RESPONSE_CODE_FAILURE" not in error.message or not answers:
                raise self._failure(broken[-1] if broken else request.url, error.message) from None
            # Chromium shows its own page for an error without a body, and Playwright calls that a failure.
            last = answers[-1]
            response = Response(last.url, status=last.status, headers=dict(last.headers))
        except RuntimeError as error:
            if "Failed to download" in str(error):
                raise FetchError(FailureClass.WRONG_TYPE, "the site offers a download, not a page") from None
            raise
        finally:
            for page in pages:
                if not page.is_closed():
                    with contextlib.suppress(Exception):
                        await page.close()
        return self._checked(response)

    def _run_spider(self) -> Any:
        return self.crawler.spider

    async def _settle(self, page: Page) -> None:
        with contextlib.suppress(PlaywrightTimeoutError):
            if self._wait_for:
                timeout_ms = self._run.job.limits.timeout_s * 500
                await page.wait_for_selector(self._wait_for, state="attached", timeout=timeout_ms)
            else:
                await page.wait_for_load_state("networkidle", timeout=NETWORK_IDLE_S * 1000)

    def _checked(self, response: Response) -> Response:
        if blocked := response.headers.get(self._proxy.failure_header):
            failure = FailureClass(blocked.decode("ascii"))
            raise FetchError(failure, f"{urlsplit(response.url).netloc} was not reached")
        if failure_of_status(response.status) is None:
            limit = self._run.job.limits.max_page_bytes
            content_type = (response.headers.get("Content-Type") or b"").decode("latin-1")
            if is_page_type(content_type) is False:
                raise FetchError(FailureClass.WRONG_TYPE, content_type[:200], status=response.status)
            if len(response.body) > limit:
                detail = f"{len(response.body)} bytes rendered, the limit is {limit}"
                raise FetchError(FailureClass.TOO_LARGE, detail, status=response.status)
        return response

    def _failure(self, url: str, message: str) -> FetchError:
        detail = message.splitlines()[0][:300]
        if "ERR_TOO_MANY_REDIRECTS" in message:
            return FetchError(FailureClass.REDIRECT_LOOP, detail)
        split = urlsplit(url)
        place = f"{split.hostname}:{split.port or (443 if split.scheme == 'https' else 80)}"
        if "ERR_TUNNEL_CONNECTION_FAILED" in message and (known := self._proxy.failure_at(place)) is not None:
            return known
        if "ERR_BLOCKED_BY_CLIENT" in message or "ERR_UNSAFE_PORT" in message:
            return FetchError(FailureClass.ADDRESS_BLOCKED, detail)
        if "Download is starting" in message or "ERR_ABORTED" in message:
            return FetchError(FailureClass.WRONG_TYPE, "the site offers a download, not a page")
        return FetchError(FailureClass.CONNECTION, detail)

    async def _is_refused(self, request: BrowserRequest) -> bool:
        """Whether a request of a page is not to be sent: media that nobody looks at, or a blocked address."""
        if request.resource_type in _REFUSED_TYPES:
            return True
        scheme = urlsplit(request.url).scheme
        if scheme in _HARMLESS_SCHEMES:
            return False
        if scheme not in ("http", "https"):
            return True
        try:
            await self._run.guard.check(request.url)
        except FetchError:
            return True
        return False

    async def close(self) -> None:
        """Closes the browser and its proxy."""
        try:
            if self._starting is not None:
                await asyncio.wait({self._starting}, timeout=CLOSE_S)
                self._starting.cancel()
                async with asyncio.timeout(CLOSE_S):
                    await self._close()
        except (PlaywrightError, TimeoutError) as error:
            _log.warning("closing the browser failed: %s", error)
        finally:
            await self._proxy.close()

    async def kill(self) -> None:
        """Kills this crawl's browser, which is told from those of other crawls by its proxy."""
        ours = f"--proxy-server={self._proxy.url}"
        await asyncio.to_thread(_kill_children, ours)
        await self._proxy.close()


def _kill_children(argument: str) -> None:
    """Kills the descendants of this process that were started with this argument."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if argument in child.cmdline():
                _log.warning("killing browser process %d, which did not close", child.pid)
                child.kill()


def _is_document(request: BrowserRequest, page: Page) -> bool:
    """Whether this is the page itself, not one of its parts or frames."""
    return bool(request.is_navigation_request() and request.frame == page.main_frame)

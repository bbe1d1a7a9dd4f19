"""The pictures in ``docs/images/``: ``make screenshots``.

Takes them of the stack that runs on ``--data-dir`` (a demo that was left running); where none does, it runs the demo
there itself, and ends it. Pages are taken by headless Chromium, what the terminal shows by Rich's SVG export.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, async_playwright
from rich.console import Console, RenderableType

from catalog.campaigns import repository
from catalog.campaigns.progress import campaign_progress
from catalog.campaigns.report import run_report
from catalog.database import Database
from crawlers.browser import find_chromium, launch_options
from docs.evidence_pictures import pictures
from examples.demo import CAMPAIGN, Outcome, Sites, check_machine, run_campaign, summary
from moderation import service
from runtime.cli._progress import render
from runtime.cli.campaign import REMEDIES
from runtime.cli.review import render_case
from runtime.connections import Connections
from runtime.embedded import state
from runtime.embedded.supervisor import Supervisor
from runtime.report import render as render_report
from runtime.settings import Settings

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 250_000

# Rich's own template fetches a font from the web; a picture in a document must not.
_TERMINAL = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: "DejaVu Sans", Arial, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """A page to be taken.

    Attributes:
        wait_for: CSS selector of what must be there first.
        height: pixels from the top.
        dark: whether the reader prefers a dark page.
    """

    name: str
    url: str
    wait_for: str
    height: int = 900
    width: int = 1200
    dark: bool = False


class PictureError(RuntimeError):
    """A picture cannot be taken; the message is one line."""


async def take(shots: list[Shot]) -> None:
    """Writes ``NAME.png`` for each."""
    executable = find_chromium()
    if executable is None:
        raise PictureError("no Chromium was found: `.venv/bin/playwright install chromium`")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options(executable))
        try:
            for shot in shots:
                await _take(browser, shot)
        finally:
            await browser.close()


async def _take(browser: Browser, shot: Shot) -> None:
    context = await browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme="dark" if shot.dark else "light",
        reduced_motion="reduce",
        locale="ru-RU",
    )
    page: Page = await context.new_page()
    await page.goto(shot.url, wait_until="networkidle")
    await page.wait_for_selector(shot.wait_for)
    path = IMAGES / f"{shot.name}.png"
    await page.screenshot(path=path, animations="disabled")
    await context.close()
    if (size := path.stat().st_size) > MOST_BYTES:
        raise PictureError(f"{path.name} has {size} bytes; at most {MOST_BYTES}: make it smaller")
    print(f"{path.name}: {size // 1000} kB")


def draw(name: str, title: str, parts: list[RenderableType], width: int) -> None:
    """Writes ``NAME.svg``: a terminal of so many columns that shows the parts."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for part in parts:
        console.print(part)
    write(name, console.export_svg(title=title, code_format=_TERMINAL, unique_id=name))


def write(name: str, svg: str) -> None:
    """Writes ``NAME.svg``."""
    path = IMAGES / f"{name}.svg"
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


def pages(connections: Connections) -> list[Shot]:
    """What is taken: the song with the most versions stands for all."""
    answer = httpx.get(f"{connections.api_url}/api/v1/songs", params={"limit": 100}, timeout=20)
    songs: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    if not songs:
        raise PictureError("the catalog is empty: run the demo first")
    slug = max(songs, key=lambda song: (song["version_count"], song["slug"]))["slug"]
    api = connections.api_url
    shots = [
        Shot("catalog", f"{api}/?lang=ru", "main li", 780),
        Shot("song", f"{api}/songs/{slug}?lang=ru", "article .version", 1000),
        Shot("song-dark", f"{api}/songs/{slug}?lang=en", "article .version", 1000, dark=True),
        Shot("api", f"{api}/docs", ".opblock-summary", 1000),
    ]
    if connections.temporal_ui_url:
        shots.append(
            Shot("temporal", f"{connections.temporal_ui_url}/namespaces/default/workflows", "tbody tr", 720, width=1400)
        )
    return shots


@contextmanager
def demo(data: Path) -> Iterator[tuple[Connections, list[RenderableType]]]:
    """Addresses of a stack with the demo's catalog, and what the demo says at its end."""
    settings = Settings(data_dir=data)
    if state.read(data).supervisor_alive():
        connections = Connections.load(settings)
        yield connections, []
        return
    check_machine(data)
    sites, supervisor = Sites.start(data / "sites"), Supervisor(settings)
    try:
        connections = supervisor.start()
        outcome: Outcome = asyncio.run(run_campaign(connections, sites.wait()))
        yield connections, list(summary(outcome, connections, sites.urls))
    finally:
        supervisor.stop()
        sites.stop()


def main() -> int:
    """Entry point of ``python -m docs.screenshots``."""
    parser = argparse.ArgumentParser(prog="make screenshots", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path(".data/demo"), help="default: %(default)s")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    try:
        with demo(options.data_dir.absolute()) as (connections, said):
            database = Database(connections.database_url, pool_size=1)
            try:
                with database.transaction() as session:
                    campaign = repository.get(session, CAMPAIGN.stem)
                    progress = render(campaign_progress(session, campaign.id), "demo")
                    cases = service.list_cases(session, limit=20).cases
                    # The case with the most to show.
                    case = max(cases, key=lambda each: ("alignment" in str(each.proposals), len(each.proposals)))
                    report = run_report(session, campaign.id, None, REMEDIES)
                    for name, svg in pictures(session):
                        write(name, svg)
                draw("review", f"versions review show {str(case.id)[:8]}", [render_case(case)], 110)
            finally:
                database.dispose()
            draw("demo", "make demo", [progress, *said], 118)
            with tempfile.TemporaryDirectory() as folder:
                page = Path(folder) / "report.html"
                page.write_text(render_report(report), encoding="utf-8")
                asyncio.run(take([*pages(connections), Shot("report", page.as_uri(), "table", 1000)]))
    except PictureError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""report.html in Chromium: it reaches for nothing, says nothing on the console, and can be used by everybody.

Needs Chromium: `apt-get install chromium`, or the path of one in CHROMIUM.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pypdfium2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from report_runs import HOSTILE, write_run

from pipelines.report import write_report
from wsi.preview import RESEARCH_USE

pytestmark = pytest.mark.slow


@dataclass
class Heard:
    """What a page said and asked for while it was open."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        message = "no Chromium to open the report in: apt-get install chromium, or give its path in CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # A container's root cannot have the sandbox; the page is our own.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("report") / "run")
    write_report(run)
    return run / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(report.as_uri())
    yield opened
    opened.close()


def shown(page: Page) -> list[str]:
    """Slides of the rows that can be seen, from top to bottom."""
    return [text.strip() for text in page.locator("[data-cohort] tbody tr:visible td:first-child").all_inner_texts()]


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_stands_in_the_way_of_a_keyboard_or_a_screen_reader(browser: Browser, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    # Cards below the screen are not laid out until somebody scrolls there, and axe takes them for empty.
    page.locator(".card").evaluate_all("cards => cards.forEach(card => { card.style.contentVisibility = 'visible'; })")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert found.response["passes"], "axe looked at nothing"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    page.close()


@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (400, "screen"), (320, "screen"), (703, "print")])
def test_no_column_of_a_card_is_cut_off(
    browser: Browser, report: Path, width: int, media: Literal["screen", "print"]
) -> None:
    """703 px: what is left of A4 between the margins."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.emulate_media(media=media)
    page.goto(report.as_uri())
    page.locator(".card").evaluate_all("cards => cards.forEach(card => { card.style.contentVisibility = 'visible'; })")
    widths = "tables => tables.map(table => [table.offsetWidth, table.parentElement.clientWidth])"
    found = page.locator(".card table").evaluate_all(widths)
    assert len(found) == 2
    assert all(table <= room for table, room in found), found
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_page_asks_for_nothing_says_nothing_and_runs_nothing_that_a_sheet_or_a_log_holds(
    browser: Browser, report: Path
) -> None:
    heard = Heard()
    page = browser.new_page()
    heard.listen(page)
    page.goto(report.as_uri())
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("#at\\:provenance").wait_for()
    assert [url for url in heard.requests if not url.startswith("data:")] == [report.as_uri()]
    assert heard.console == []
    assert heard.dialogs == []
    assert page.locator("script").count() == 1
    assert page.locator("main i, main img[src=x]").count() == 0
    assert HOSTILE in (page.locator("#good").text_content() or "")  # as text, to the letter
    page.close()


def test_the_policy_refuses_the_network_and_foreign_scripts(page: Page) -> None:
    """What the page would not do of itself, it could not do either."""
    heard = Heard()
    heard.listen(page)
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken'";
        document.body.append(script);
        document.body.append(Object.assign(new Image(), {src: "https://example.org/a.png"}));
    }""")
    assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    assert page.title() == "run · Tesela report"
    assert any("img-src" in text for text in heard.console)
    assert any("script-src" in text for text in heard.console)


def test_every_picture_is_there(page: Page) -> None:
    pictures = page.locator("img")
    assert pictures.count() > 10
    widths = "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
    assert min(pictures.evaluate_all(widths)) > 0


def test_the_table_is_filtered_by_state_and_by_case(page: Page) -> None:
    assert shown(page) == ["good", "white", "bad"]
    page.get_by_label("failed 1").check()
    assert shown(page) == ["bad"]
    assert page.locator(".card:visible").count() == 1
    assert page.get_by_role("status").inner_text() == "1 of 3 slides shown"
    page.get_by_label("all 3").check()
    page.get_by_label("Slide or case").fill("p1")
    assert shown(page) == ["good"]


def test_the_table_is_sorted_with_the_keyboard_alone_and_unknown_comes_last(page: Page) -> None:
    head = page.get_by_role("columnheader", name="Scored, mm²")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown(page) == ["white", "good", "bad"]  # 0 mm², some, not known
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(page) == ["good", "white", "bad"]
    page.get_by_role("columnheader", name="Slide", exact=True).get_by_role("button").press("Enter")
    assert shown(page) == ["bad", "good", "white"]
    assert head.get_attribute("aria-sort") is None
    page.get_by_label("Most of").select_option("LYM")
    assert shown(page)[0] == "good"


def test_without_scripts_everything_is_there_but_the_tools(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("[data-tools]").is_hidden()
    assert page.locator("[data-cohort] tbody tr").count() == page.locator(".card").count() == 3
    assert page.locator("#bad").is_visible()
    context.close()


def test_a_printed_tile_is_on_the_page_of_its_place(page: Page) -> None:
    """The gallery may go over several pages; a tile and what is written below it may not."""
    places = page.locator(".tiles small").all_inner_texts()
    found = 0
    for printed in pypdfium2.PdfDocument(page.pdf(prefer_css_page_size=True)):
        written = sum(line.strip() in places for line in printed.get_textpage().get_text_range().splitlines())
        bounds = [thing.get_bounds() for thing in printed.get_objects() if thing.type == 3]  # 3: an image
        tiles = [right - left for left, _, right, _ in bounds if 55 < right - left < 70]  # 84 px are 63 pt
        assert written == len(tiles)
        found += written
    assert found == len(places) > 12


def test_every_printed_page_says_what_the_report_is_not_for(page: Page) -> None:
    pages = list(pypdfium2.PdfDocument(page.pdf(prefer_css_page_size=True)))
    texts = [printed.get_textpage().get_text_range() for printed in pages]
    assert len(texts) > 3
    assert all(RESEARCH_USE in text for text in texts)
    assert "Just below the threshold" in "".join(texts)
    pictures = [thing for printed in pages for thing in printed.get_objects() if thing.type == 3]  # 3: an image
    assert len(pictures) >= page.locator("img").count()

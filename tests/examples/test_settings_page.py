"""The page of the settings dashboard, in a real browser."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from conftest import Demo

OpenPage = Callable[..., Page]
Eventually = Callable[..., Any]

# In milliseconds: longer than max_staleness in the roster file of the demo, on a busy machine.
WELL = 15_000.0


def cell(page: Page, row: str, number: int) -> Locator:
    """Return what instance *number* has in the row named *row*."""
    return (
        page.get_by_role("row")
        .filter(has=page.get_by_role("rowheader", name=row, exact=True))
        .get_by_role("cell")
        .nth(number - 1)
    )


def head(page: Page, number: int) -> Locator:
    """Return the head of the column of instance *number*."""
    return page.get_by_role("columnheader").nth(number - 1)


def dates(page: Page) -> list[datetime]:
    """Return the three dates that the page shows."""
    shown = page.locator("[data-row=date] time").evaluate_all("times => times.map((time) => time.dateTime)")
    return [datetime.fromisoformat(date) for date in shown]


def scroll_widths(page: Page) -> list[int]:
    """Return how wide the page and its table are, with what is out of sight."""
    widths: list[int] = page.evaluate(
        "[document.documentElement, document.querySelector('.scroll')].map((node) => node.scrollWidth)"
    )
    return widths


def keep(page: Page, file: Path, *, full_page: bool = False) -> None:
    """Write a picture of *page* to *file*."""
    # Given the path, Playwright would write it in a thread of its own, and keep the thread.
    file.write_bytes(page.screenshot(full_page=full_page))


def wait_for_figures(page: Page) -> None:
    """Wait until the page has heard from every instance."""
    for number in (1, 2, 3):
        expect(head(page, number)).to_contain_text("answering")


def test_page_of_any_instance_shows_all_of_them_side_by_side(demo: Demo, open_page: OpenPage) -> None:
    """Each instance serves a page that shows every instance's name, date, settings, figures and peers."""
    for served_by, url in enumerate(demo.urls, 1):
        page = open_page(url)
        wait_for_figures(page)
        for number in (1, 2, 3):
            state = demo.state(number)
            expect(head(page, number)).to_contain_text(f"instance {number}")
            for name, value in state["settings"].items():
                expect(cell(page, name, number)).to_have_text(value)
            expect(cell(page, "Loads from the database", number)).to_have_text(str(state["loads"]))
            expect(cell(page, "Peers", number).get_by_role("listitem")).to_have_count(2)
            assert dates(page)[number - 1] == datetime.fromisoformat(state["date"])
        expect(head(page, served_by)).to_contain_text("serves this page")


def test_saving_new_settings_renews_every_date(
    demo: Demo, open_page: OpenPage, eventually: Eventually, screenshots: Path
) -> None:
    """After *Save new settings* on one instance, all show its values and a later date, without a reload."""
    page = open_page(demo.urls[0])
    wait_for_figures(page)
    page.evaluate("window.neverReloaded = true")
    before, old_banner = dates(page), cell(page, "Banner", 1).inner_text()
    clicked = datetime.now(UTC)

    page.get_by_role("button", name="Save new settings", exact=True).click()

    eventually(lambda: all(date > clicked for date in dates(page)))
    assert all(new > old for new, old in zip(dates(page), before, strict=True))
    expect(cell(page, "Banner", 1)).not_to_have_text(old_banner)
    for number in (2, 3):
        expect(cell(page, "Banner", number)).to_have_text(cell(page, "Banner", 1).inner_text())
        expect(cell(page, "Date of its copy", number)).to_contain_text("ms after the flush")
        expect(page.get_by_text(f"instance {number} applied the flush of instance 1 after").first).to_be_visible()
    keep(page, screenshots / "light.png", full_page=True)
    assert page.evaluate("window.neverReloaded") is True


def test_change_is_marked_and_the_mark_fades(demo: Demo, open_page: OpenPage) -> None:
    """What changes is highlighted in every instance for a while; what a page shows at first is not."""
    page = open_page(demo.urls[0])
    wait_for_figures(page)
    assert page.locator(".changed").count() == 0

    page.get_by_role("button", name="Save new settings", exact=True).click()

    for number in (1, 2, 3):
        expect(cell(page, "Banner", number)).to_have_class("changed")
    expect(page.locator(".changed")).to_have_count(0)


def test_added_setting_appears_in_every_instance(demo: Demo, open_page: OpenPage) -> None:
    """A setting that one adds, by keyboard alone, is shown for every instance on every open page."""
    page, other = open_page(demo.urls[1]), open_page(demo.urls[2])
    wait_for_figures(page)
    wait_for_figures(other)

    page.get_by_label("Name").fill("Opening <b>hours</b>")
    page.get_by_label("Name").press("Tab")
    page.keyboard.type("9 to 5 & later")
    page.keyboard.press("Enter")

    for shown in (page, other):
        for number in (1, 2, 3):
            expect(cell(shown, "Opening <b>hours</b>", number)).to_have_text("9 to 5 & later")
    expect(page.get_by_label("Name")).to_have_value("")


def test_frozen_instance_misses_a_write_and_catches_up(
    demo: Demo, open_page: OpenPage, eventually: Eventually, screenshots: Path
) -> None:
    """An instance that is frozen keeps its last known figures on the page, and catches up once it is thawed."""
    page = open_page(demo.urls[0])
    wait_for_figures(page)
    old_banner, old_date = cell(page, "Banner", 2).inner_text(), dates(page)[1]

    page.get_by_role("button", name="Freeze instance 2").click()
    expect(head(page, 2)).to_contain_text("frozen, last known figures")
    page.get_by_role("button", name="Save new settings", exact=True).click()
    expect(cell(page, "Banner", 3)).not_to_have_text(old_banner)

    # What it sent before it was frozen may arrive after; that is no sign of life.
    page.evaluate("take(instances[1], {...instances[1].report, clock: instances[1].frozenAt - 0.001})")
    expect(head(page, 2)).to_contain_text("frozen, last known figures")
    assert demo.is_stopped(2)
    assert demo.mesh()[1]["error"] == "instance 2 does not answer within 1 s."
    expect(cell(page, "Banner", 2)).to_have_text(old_banner)
    assert dates(page)[1] == old_date
    keep(page, screenshots / "frozen.png", full_page=True)

    thawed = datetime.now(UTC)
    page.get_by_role("button", name="Thaw instance 2").click()

    expect(head(page, 2)).to_have_text("instance 2Freezeanswering")
    eventually(lambda: dates(page)[1] > thawed)
    expect(cell(page, "Banner", 2)).to_have_text(cell(page, "Banner", 1).inner_text())
    assert demo.state(2)["settings"] == demo.state(1)["settings"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_proof_grows_old_while_an_instance_is_frozen(
    demo: Demo, open_page: OpenPage, eventually: Eventually, screenshots: Path, scheme: str
) -> None:
    """The row *Proof* turns amber with the reason, the copies reload and say why, and all is well after the thaw."""
    page = open_page(demo.urls[0], color_scheme=scheme)
    phone = open_page(demo.urls[0], viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme=scheme)
    wait_for_figures(page)
    wait_for_figures(phone)
    for number in (1, 2, 3):
        expect(cell(page, "Proof", number)).to_have_text(re.compile(r"^[0-2]\.\d s ago$"), timeout=WELL)
    expect(page.locator(".worn")).to_have_count(0)

    page.get_by_role("button", name="Freeze instance 2").click()

    frozen = dates(page)
    for number in (1, 3):
        proof = cell(page, "Proof", number)
        expect(proof).to_contain_text(re.compile(r"s ago\s*Copies run out: instance 2 at .* vouched"), timeout=WELL)
        expect(proof.locator(".age")).to_have_class(re.compile("worn"))
        expect(cell(page, "Date of its copy", number)).to_contain_text(
            "reloaded: no proof from instance 2", timeout=WELL
        )
        expect(page.get_by_text(f"instance {number} reloaded: no proof from instance 2.")).to_have_count(1)
        assert dates(page)[number - 1] > frozen[number - 1]
    assert dates(page)[1] == frozen[1]
    expect(cell(page, "Proof", 1)).to_contain_text(re.compile(r"^([5-9]|\d\d)\.\d s ago"), timeout=WELL)
    keep(page, screenshots / f"proof-{scheme}.png", full_page=True)
    keep(phone, screenshots / f"proof-phone-{scheme}.png", full_page=True)
    assert max(scroll_widths(phone)) <= 390

    page.get_by_role("button", name="Thaw instance 2").click()

    for number in (1, 2, 3):
        expect(cell(page, "Proof", number)).to_have_text(re.compile(r"^[0-2]\.\d s ago$"), timeout=WELL)
    expect(page.locator(".worn")).to_have_count(0)


def test_split_is_shown_beside_the_peers(demo: Demo, open_page: OpenPage) -> None:
    """What an instance reports of a split stands under its peers, and goes when it is over."""
    page = open_page(demo.urls[0])
    expect(cell(page, "Peers", 1)).to_contain_text("instance 2", timeout=WELL)
    shown = """split => {
        const [first] = instances;
        first.report = {...first.report, split};
        showPeers(first);
        return first.cells.peers.textContent;
    }"""

    assert "Split: of 3 nodes b sees 2, without c." in page.evaluate(shown, "of 3 nodes b sees 2, without c")
    assert "Split" not in page.evaluate(shown, "")


def test_instance_that_was_frozen_by_others_is_shown_as_not_answering(demo: Demo, open_page: OpenPage) -> None:
    """Silence is noticed whoever caused it, also on a page that is opened only then, and so is its end."""
    os.kill(demo.process_of(3), signal.SIGSTOP)
    try:
        page = open_page(demo.urls[0])
        expect(head(page, 1)).to_contain_text("answering")
        expect(head(page, 3)).to_contain_text("not answering, last known figures")
    finally:
        os.kill(demo.process_of(3), signal.SIGCONT)
    expect(head(page, 3)).to_have_text("instance 3Freezeanswering")


def test_sleep_of_the_tab_is_not_taken_for_silence(demo: Demo, open_page: OpenPage) -> None:
    """A tab whose timers stood still for a minute does not report that the instances do not answer."""
    page = open_page(demo.urls[0], faked_clock=True)
    wait_for_figures(page)

    page.clock.fast_forward(60_000)

    page.clock.run_for(1_000)
    expect(page.get_by_text("not answering")).to_have_count(0)


def test_what_is_refused_is_said_on_the_page(demo: Demo, open_page: OpenPage, screenshots: Path) -> None:
    """An empty name, a name that exists and a value that is too long are refused in words beside the form."""
    page = open_page(demo.urls[0])
    wait_for_figures(page)

    def add(name: str, value: str) -> Locator:
        page.get_by_label("Name").fill(name)
        page.get_by_label("Value").fill(value)
        page.get_by_role("button", name="Add setting").click()
        return page.get_by_role("alert")

    expect(add(" ", "something")).to_have_text("The name is empty.")
    expect(page.get_by_label("Name")).to_be_focused()
    keep(page, screenshots / "error.png")
    expect(add("Banner", "another")).to_have_text("There is a setting “Banner” already; choose another name.")
    expect(add("Long", "x" * 201)).to_have_text("The value is too long: 201 characters, at most 200 fit.")
    expect(page.get_by_label("Value")).to_be_focused()
    expect(add("Short", "x")).to_have_count(0)


def test_database_that_is_gone_is_reported_while_copies_are_still_served(
    start_demo: Callable[..., Demo], open_page: OpenPage, screenshots: Path
) -> None:
    """Without its database a save is refused in words, and every instance goes on serving its copy."""
    demo = start_demo()
    page = open_page(demo.urls[0])
    wait_for_figures(page)
    banner = cell(page, "Banner", 1).inner_text()

    for file in demo.database.parent.iterdir():
        file.unlink()
    page.get_by_role("button", name="Save new settings", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("The database cannot be used: unable to open database file.")
    expect(cell(page, "Banner", 1)).to_have_text(banner)
    expect(head(page, 2)).to_contain_text("answering")
    keep(page, screenshots / "database-gone.png")


def test_instance_that_was_killed_is_shown_as_not_answering(
    start_demo: Callable[..., Demo], open_page: OpenPage
) -> None:
    """A dead instance keeps its last known figures, cannot be thawed, and does not keep the others from working."""
    demo = start_demo()
    page = open_page(demo.urls[0])
    wait_for_figures(page)
    banner = cell(page, "Banner", 2).inner_text()

    os.kill(demo.process_of(2), signal.SIGKILL)
    expect(head(page, 2)).to_contain_text("not answering, last known figures")
    page.get_by_role("button", name="Thaw instance 2").click()
    expect(page.get_by_role("alert")).to_have_text("Instance 2 has ended, killed by SIGKILL.")
    page.get_by_role("button", name="Save new settings", exact=True).click()

    expect(cell(page, "Banner", 3)).not_to_have_text(banner)
    expect(cell(page, "Banner", 2)).to_have_text(banner)
    assert demo.complained() == "instance 2 has ended, killed by SIGKILL\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone(demo: Demo, open_page: OpenPage, screenshots: Path, scheme: str) -> None:
    """On a screen 390 px wide nothing needs sideways scrolling, and every button is large enough for a thumb."""
    page = open_page(
        demo.urls[0], viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, color_scheme=scheme
    )
    wait_for_figures(page)

    page.get_by_role("button", name="Save new settings", exact=True).tap()

    expect(cell(page, "Date of its copy", 3)).to_contain_text("ms after the flush")
    keep(page, screenshots / f"phone-{scheme}.png", full_page=True)
    assert max(scroll_widths(page)) <= 390
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44


def test_page_follows_the_dark_scheme(demo: Demo, open_page: OpenPage, screenshots: Path) -> None:
    """Light text stands on a dark ground for whoever prefers that."""
    page = open_page(demo.urls[0], color_scheme="dark")
    wait_for_figures(page)

    colours = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.documentElement))"
    )

    keep(page, screenshots / "dark.png", full_page=True)
    ink, ground = (sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) for colour in colours)
    assert ink > 600
    assert ground < 100


def test_page_without_motion_marks_changes_without_animation(demo: Demo, open_page: OpenPage) -> None:
    """Whoever prefers reduced motion sees what changed by a bar that does not move."""
    page = open_page(demo.urls[0], reduced_motion="reduce")
    wait_for_figures(page)

    page.get_by_role("button", name="Save new settings", exact=True).click()

    expect(cell(page, "Banner", 2)).to_have_class("changed")
    expect(cell(page, "Banner", 2)).to_have_css("animation-name", "none")

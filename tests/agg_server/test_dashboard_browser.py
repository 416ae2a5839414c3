"""The dashboard in a real browser: for eyes, for the keyboard, for screen readers, on a phone, without a script.

FEDIT_SCREENSHOTS=docs/img makes the pictures of the documentation anew.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import DESK, PHONE, Window, chromium
from dashboard import EMPTY_PAGES, PAGES, addresses, new_code
from server_process import ServerProcess

PICTURED = {"": "glance", "/rounds/1": "round", "/devices": "devices"}
_CUT = """() => [...document.querySelectorAll("svg text")].filter((text) => {
  const [letters, picture] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
  return letters.left < picture.left - 0.5 || letters.right > picture.right + 0.5 || letters.height < 9.5;
}).map((text) => text.textContent)"""
"""Labels of pictures that are cut at a side, or too small to be read."""
Open = Callable[..., Window]


@pytest.fixture(scope="module")
def opened(lived_in: ServerProcess, untouched: ServerProcess) -> Iterator[Open]:
    """Opens windows of one browser; one that is logged in is opened once for each server, width and scheme."""
    with chromium() as browser:
        windows: dict[object, Window] = {}

        def open_window(server: ServerProcess, width: int = DESK, scheme: str = "light", **options: Any) -> Window:
            if options:
                windows[object()] = window = Window(browser, server, width, color_scheme=scheme, **options)
                return window
            key = server.port, width, scheme
            if key not in windows:
                windows[key] = Window(browser, server, width, color_scheme=scheme)
                windows[key].log_in()
            windows[key].complaints.clear()
            return windows[key]

        yield open_window
        for window in windows.values():
            window.close()


@pytest.mark.parametrize(
    ("full", "page"), [*((True, page) for page in PAGES), *((False, page) for page in EMPTY_PAGES)]
)
def test_a_page_fits_a_phone_and_axe_finds_nothing_in_light_and_dark(
    opened: Open, lived_in: ServerProcess, untouched: ServerProcess, full: bool, page: str
):
    server = lived_in if full else untouched
    for scheme in ("light", "dark"):
        window = opened(server, PHONE, scheme)
        window.go(*addresses(server, [page]))
        assert window.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert window.overflow() <= 0
        for details in window.page.locator("details").all():
            details.evaluate("details => details.open = true")
        assert window.overflow() <= 0
        assert window.page.evaluate(_CUT) == []
        assert window.findings() == []
        assert window.complaints == []


@pytest.mark.parametrize("page", PAGES)
def test_the_keyboard_comes_to_everything_in_order_and_shows_where_it_is(
    opened: Open, lived_in: ServerProcess, page: str
):
    window = opened(lived_in)
    [path] = addresses(lived_in, [page])
    window.go(path)
    if path in PICTURED:
        window.picture(PICTURED[path])
    names, unseen = window.tabbed()
    assert names[0] == "A To the content"
    assert unseen == []
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.matches('body, .skip')"), f"there is more than {names}"


def test_logging_in_going_about_and_logging_out_take_no_mouse(opened: Open, untouched: ServerProcess):
    window = opened(untouched, DESK, "light", locale="en-US")
    window.go("/rounds")
    keyboard, page = window.page.keyboard, window.page
    page.get_by_label("Login code").focus()
    keyboard.type(new_code(untouched))
    keyboard.press("Enter")
    page.wait_for_selector("nav")
    keyboard.press("Tab")
    keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Rounds", exact=True).focus()
    keyboard.press("Enter")
    page.wait_for_url("**/rounds")
    assert page.locator("nav [aria-current=page]").inner_text() == "Rounds"
    page.get_by_role("button", name="Log out").focus()
    keyboard.press("Enter")
    page.wait_for_url("**/login")
    window.go("")
    assert page.get_by_label("Login code").is_visible()


def test_a_login_links_code_goes_into_the_form_and_out_of_the_address(opened: Open, untouched: ServerProcess):
    window = opened(untouched, PHONE, "light", locale="en-US")
    code = new_code(untouched)
    window.go(f"/login#{code}")
    assert window.page.get_by_label("Login code").input_value() == code
    assert window.page.url.endswith("/dashboard/login")
    assert window.findings() == []
    assert window.overflow() <= 0


def test_without_a_script_everything_can_be_read(opened: Open, lived_in: ServerProcess):
    window = opened(lived_in, PHONE, "light", java_script_enabled=False)
    window.go("")
    window.page.get_by_label("Login code").fill(new_code(lived_in))
    window.page.get_by_role("button", name="Log in").click()
    window.page.wait_for_selector("nav")
    assert "reload it" in window.page.locator("#live").inner_text()
    assert window.page.locator("figure svg").count() == 3
    assert window.page.locator("time").first.inner_text().endswith("Z"), "in UTC, as the server says it"


def test_times_are_the_browsers_own_and_the_page_renews_itself(opened: Open, lived_in: ServerProcess):
    window = opened(lived_in)
    window.go("")
    window.page.get_by_text("Live: this page renews itself.").wait_for()
    local, utc = window.page.evaluate("(t => [t.textContent, t.title])(document.querySelector('#now time'))")
    hours = (int(local[11:13]) - int(utc[11:13])) % 24
    assert (hours, local[13:19], utc[-1]) == (9, utc[13:19], "Z")
    assert window.complaints == []


def test_a_page_tries_again_whatever_it_is_answered_until_its_session_is_over(opened: Open, lived_in: ServerProcess):
    window = opened(lived_in, DESK, "light", locale="en-US")
    window.log_in()
    answers = [503, 429, 502]

    def answer(route: Any) -> None:
        if answers:
            route.fulfill(status=answers.pop(), body="")
        else:
            route.continue_()

    window.page.route("**/dashboard/live", answer)
    window.go("")
    window.page.get_by_text("Live: this page renews itself.").wait_for()
    assert answers == []
    other = window.context.new_page()
    other.goto(window.page.url)
    other.get_by_role("button", name="Log out").click()
    window.page.get_by_text("Not live any more: this session is over.").wait_for()
    window.page.get_by_text("Reload the page to log in again.").wait_for()


def test_what_is_unfolded_and_where_the_keyboard_is_outlast_a_renewal(opened: Open, lived_in: ServerProcess):
    window = opened(lived_in)
    window.go("")
    window.page.get_by_text("Live: this page renews itself.").wait_for()
    summary = window.page.locator("#step-uploaded > summary")
    summary.focus()
    window.page.keyboard.press("Enter")
    before = window.page.locator("#now").inner_text()
    as_sent = "document.getElementById('now').innerHTML.replace(/ open=\"\"/, '')"
    window.page.evaluate(f"exchange(document.getElementById('now'), {as_sent})")
    assert window.page.locator("#step-uploaded").evaluate("details => details.open")
    assert window.page.evaluate("document.activeElement.parentElement.id") == "step-uploaded"
    assert window.page.locator("#now").inner_text() == before


def test_an_invitation_is_made_and_copied(opened: Open, lived_in: ServerProcess):
    window = opened(lived_in, PHONE, "light", permissions=["clipboard-read", "clipboard-write"])
    window.log_in()
    window.go("/invitations")
    window.page.get_by_label("Devices it lets in").fill("2")
    window.page.get_by_role("button", name="Make a link").click()
    link = window.page.get_by_role("textbox", name="Join link").input_value()
    hidden = window.page.locator("#link").evaluate("field => field.scrollHeight - field.clientHeight")
    assert hidden <= 0, "all of it can be seen"
    window.page.get_by_role("button", name="Copy").click()
    window.page.get_by_text("Copied.").wait_for()
    assert window.page.evaluate("navigator.clipboard.readText()") == link
    assert window.page.get_by_role("img", name="QR code").bounding_box()["width"] > 150
    assert (window.overflow() <= 0, window.findings(), window.complaints) == (True, [], [])
    window.page.emulate_media(color_scheme="dark")
    assert window.findings() == []

"""The demo chat in a real browser: sign in, ask, watch a file change, survive a killed web."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def chat(page: Page, platform) -> Iterator[Page]:
    """The page of a signed-in person; any error on its console fails the test."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(platform.url)
    page.get_by_label("E-mail").fill(platform.user["email"])
    page.get_by_label("Password").fill(platform.user["password"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("connected", exact=True)).to_be_visible()
    yield page
    assert errors == []


def ask(chat: Page, prompt: str) -> None:
    chat.get_by_label("Prompt").fill(prompt)
    chat.get_by_role("button", name="Send").click()


def test_a_wrong_password_is_said_and_nothing_opens(page, platform):
    page.goto(platform.url)
    page.get_by_label("E-mail").fill(platform.user["email"])
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Prompt")).to_be_hidden()


def test_the_coder_changes_a_file_and_the_cost_is_shown(chat, screens):
    chat.get_by_label("Agent").select_option(label="Coder")
    ask(chat, "Add a comment at the top of `src/greeting.py` that says its purpose.")
    expect(chat.get_by_text("write_file")).to_be_visible()
    expect(chat.get_by_text(re.compile(r"\d+ tokens, 0\.\d+ USD"))).to_be_visible()
    chat.screenshot(path=screens / "chat.png")


def test_a_stream_goes_on_after_its_web_process_was_killed(chat, platform):
    ask(chat, "[[sim:tokens=150 delay=20]] a long answer")
    expect(chat.locator("pre").last).not_to_be_empty()
    assert platform.kill("web")
    expect(chat.get_by_text("reconnecting…")).to_be_visible()
    expect(chat.get_by_text(re.compile(r"\d+ tokens, 0\.\d+ USD"))).to_be_visible(timeout=60_000)


def test_a_run_can_be_cancelled(chat):
    ask(chat, "[[sim:tokens=2000 delay=20]] a very long answer")
    expect(chat.locator("pre").last).not_to_be_empty()
    chat.get_by_role("button", name="Cancel").click()
    expect(chat.get_by_role("button", name="Send")).to_be_enabled()

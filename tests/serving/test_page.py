"""The page in a browser: images and drawings get their answers, with a keyboard, on a phone."""

import re
import shutil
import socket
import threading
import time

import pytest

from jaxcnn.serving.app import make_app
from jaxcnn.serving.served import by_name
from tests.images import saved
from tests.serving.conftest import SMALL

api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt install chromium)")


@pytest.fixture(scope="module")
def address(model):
    """Of a server with two models and a token, in a thread of this process."""
    import uvicorn

    app = make_app(by_name([model(), model("other", trained=None)]), SMALL, token="sesame")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not app.state.ready.is_set():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page at a width of 390 pixels, past the question for the token. Errors of its scripts
    fail the test.
    """
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page, errors, elsewhere = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("request", lambda asked: elsewhere.append(asked.url))
    page.goto(address)
    page.get_by_label("The server asks for a token").fill("sesame")
    page.keyboard.press("Enter")
    api.expect(page.locator("#about")).to_contain_text("digits tells 10 classes apart: 0, 1, 2")
    yield page
    assert not errors
    assert all(url.startswith((address, "blob:", "data:")) for url in elsewhere)
    assert page.locator("html").evaluate("e => e.scrollWidth") <= 390
    context.close()


def upload(name, content):
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_several_images_get_their_answers_and_a_broken_one_its_reason(page, numbers, client):
    files = [saved(numbers[k], "PNG") for k in range(2)]
    page.get_by_label("Choose images").set_input_files(
        [upload("zero.png", files[0]), upload("one.png", files[1]), upload("bad.png", b"text")]
    )
    cards = page.get_by_role("list", name="Answers").get_by_role("listitem")
    api.expect(cards).to_have_count(3)
    for card, content in zip((cards.nth(0), cards.nth(1)), files, strict=True):
        said = client.post("/predict", files={"file": content}).json()["predictions"][0]
        api.expect(card.get_by_role("heading")).to_contain_text(f"{said['label']} (")
        api.expect(card.get_by_role("row")).to_have_count(5)
        api.expect(card.get_by_role("rowheader").nth(1)).to_have_text(said["top"][1]["label"])
    api.expect(cards.nth(2)).to_contain_text("is not an image")
    page.get_by_role("button", name="Remove all answers").click()
    api.expect(cards).to_have_count(0)


def test_a_map_shows_where_the_model_looks_and_goes_away_again(page, numbers):
    page.get_by_label("Choose images").set_input_files([upload("3.png", saved(numbers[3], "PNG"))])
    button = page.get_by_role("button", name="Where it looks")
    button.focus()
    page.keyboard.press("Enter")
    api.expect(button).to_have_attribute("aria-pressed", "true")
    shown = page.locator(".result img")
    api.expect(shown).to_have_attribute("src", re.compile("^data:image/"))
    api.expect(shown).to_have_attribute("alt", re.compile("Grad-CAM"))
    page.keyboard.press("Enter")
    api.expect(shown).to_have_attribute("src", re.compile("^blob:"))


def test_a_model_without_maps_offers_none(page, numbers):
    page.get_by_label("Model").select_option("other")
    page.get_by_label("Choose images").set_input_files([upload("3.png", saved(numbers[3], "PNG"))])
    api.expect(page.get_by_role("row")).to_have_count(5)
    api.expect(page.get_by_role("button", name="Where it looks")).to_have_count(0)


def test_a_digit_is_drawn_with_the_mouse_or_with_keys(page):
    canvas, drawn = page.get_by_label("Drawing area"), page.locator("#drawn b")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 140, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 240, steps=5)
    page.mouse.up()
    api.expect(drawn).to_have_text(re.compile(r"^\d$"))
    page.get_by_role("button", name="Clear").click()
    api.expect(drawn).to_have_count(0)
    canvas.focus()
    for key in ("Space", *["ArrowDown"] * 9, *["ArrowRight"] * 5, "Space"):
        page.keyboard.press(key)
    api.expect(drawn).to_have_text(re.compile(r"^\d$"))
    # The training images are light on dark, and so is the drawing.
    corner = canvas.evaluate("c => c.getContext('2d').getImageData(2, 2, 1, 1).data[0]")
    inked = canvas.evaluate("c => c.getContext('2d').getImageData(140, 180, 1, 1).data[0]")
    assert corner == 0 and inked == 255
    page.get_by_role("button", name="More").click()
    api.expect(page.get_by_role("listitem")).to_have_count(1)


def test_images_are_dropped_and_pasted(page, numbers):
    content = list(saved(numbers[6], "PNG"))
    for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.locator("body").evaluate(
            """(body, [kind, field, content]) => {
              const carried = new DataTransfer();
              carried.items.add(new File([new Uint8Array(content)], kind + ".png"));
              const type = kind === "drop" ? DragEvent : ClipboardEvent;
              body.dispatchEvent(new type(kind, {[field]: carried, bubbles: true}));
            }""",
            [kind, field, content],
        )
        api.expect(page.locator(".result .name").first).to_have_text(f"{kind}.png")
    api.expect(page.get_by_role("row")).to_have_count(10)


def test_everything_is_reached_with_the_tab_key_and_has_a_name(page):
    names = []
    for _ in range(9):  # from the last back to the first it goes over the browser's own
        page.keyboard.press("Tab")
        name = page.locator("html").evaluate(
            """() => {
              const e = document.activeElement, label = e.labels && e.labels[0];
              if (e === document.body) return null;
              return e.getAttribute("aria-label") || (label || e).textContent;
            }"""
        )
        names += [name] if name is not None else []
    assert all(name.strip() for name in names)
    for wanted in ("Choose images", "Drawing area", "Clear", "The interface for programs"):
        assert any(name.strip().startswith(wanted) for name in names), (wanted, names)

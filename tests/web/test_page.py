"""The page in Chromium, used as a person would, by mouse and by keyboard; nothing is asked of anybody else.

`make test-browser` runs these: they fail where Chromium is missing (Debian: `apt-get install chromium`).
"""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.web.conftest import serving
from tests.web.test_api import FILES

pytestmark = pytest.mark.browser
TABS = ("predict", "conv2", "conv2/5", "fc3", "similar", "run", "api")
OPTIONS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "Chromium is missing: apt-get install chromium, or say where it is in CHROMIUM"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=OPTIONS)


@pytest.fixture
def opened(browser, client):
    """Opens the page at an address, in some window; at the end nothing was asked of others, and nothing failed."""
    contexts, asked, problems = [], [], []
    own = f"http://127.0.0.1:{client.port}/"

    def open_page(address: str = "", width: int = 1100, height: int = 800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append("a dialog"))
        page.goto(own + (f"#{address}" if address else ""))
        page.wait_for_selector("html[data-ready]")
        page.asked = asked
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith((own, "data:", f"blob:{own}"))]
    assert not problems


def give(page, name: str = "photo.jpg") -> None:
    """Chooses a file."""
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": FILES["photo.jpg"]})
    page.wait_for_selector("#bars li", state="attached")
    page.wait_for_function("() => document.getElementById('time').textContent.includes('300 × 200')")


def test_it_opens_with_few_requests_and_soon(opened):
    page = opened()
    own = [url for url in page.asked if not url.startswith(("data:", "blob:"))]
    assert len(own) <= 6, own
    assert page.evaluate("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart") < 3000
    sizes = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.transferSize)")
    assert sum(sizes) < 150 << 10


def test_a_file_gets_the_answer_of_the_api(opened, client):
    page = opened()
    give(page)
    expected = client.json("/predict", FILES["photo.jpg"])["top"]
    shown = page.locator("#bars li").evaluate_all(
        "items => items.map(i => [i.children[0].textContent, i.children[1].title])"
    )
    assert shown == [[name, str(share)] for name, share in expected]
    assert page.get_by_role("status").inner_text().startswith(expected[0][0])
    assert page.get_by_text("What the net sees").is_visible()
    page.get_by_role("switch", name="ten views").click()
    page.wait_for_function("() => document.querySelectorAll('#crops div').length == 5")
    ten = client.json("/predict?views=10", FILES["photo.jpg"])["top"]
    assert page.locator("#bars .share").first.get_attribute("title") == str(ten[0][1])
    lines = page.locator("#elsewhere code").all_inner_texts()
    assert lines[0].endswith("photo.jpg --views 10") and lines[0].startswith("alexnet predict /")
    assert lines[1] == f"curl --data-binary @photo.jpg 'http://127.0.0.1:{client.port}/predict?views=10'"
    page.get_by_role("switch", name="minus the mean").click()
    page.wait_for_selector("#minus:not([hidden])")
    assert page.evaluate("document.getElementById('minus').width") == 64


def test_an_image_can_be_dropped_or_pasted(opened, client):
    page = opened()
    for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([kind, field, bytes]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], `${kind}ped.webp`, {type: 'image/webp'}));
                const kinds = {drop: DragEvent, paste: ClipboardEvent};
                const event = new kinds[kind](kind, {[field]: transfer, bubbles: true, cancelable: true});
                document.body.dispatchEvent(event);
            }""",
            [kind, field, list(FILES["photo.webp"])],
        )
        page.wait_for_selector(f"#elsewhere code:text('{kind}ped.webp')")
        expected = client.json("/predict", FILES["photo.webp"])["top"][0][1]
        page.wait_for_function("share => document.querySelector('#bars .share')?.title === share", arg=str(expected))


def test_examples_say_whether_the_answer_is_right(opened, client):
    page = opened()
    examples = client.json("/run")["examples"]
    buttons = page.get_by_role("group", name="Examples").get_by_role("button")
    assert buttons.count() == len(examples)
    buttons.nth(2).click()
    page.wait_for_selector("#bars li")
    answer = client.json("/predict", client(f"/images/{examples[2]['row']}")[2])
    word = client.json("/run")["words"][examples[2]["label"]]
    mark = "✓" if answer["top"][0][0] == word else f"✗ It is {word}."
    page.wait_for_function("mark => document.getElementById('verdict').textContent.endsWith(mark)", arg=mark)
    assert buttons.nth(2).get_attribute("aria-pressed") == "true"


def test_the_webcam_is_live_in_every_tab(opened):
    page = opened(permissions=["camera"])
    page.get_by_role("button", name="Webcam").click()
    page.wait_for_function("() => /[1-9]\\d* images a second/.test(document.getElementById('time').textContent)")
    page.evaluate("performance.clearResourceTimings()")
    page.wait_for_timeout(1500)
    answered = page.evaluate("performance.getEntriesByName(location.origin + '/predict?views=1&picture=true').length")
    assert answered / 1.5 >= 5, "frames a second"
    first = page.locator("#square").get_attribute("src")
    page.wait_for_function("first => document.getElementById('square').src !== first", arg=first)
    page.get_by_role("tab", name="Inside").click()
    page.wait_for_selector("#maps .map")
    shown = page.locator("#maps .map").first.inner_html()
    page.wait_for_function("shown => document.querySelector('#maps .map').innerHTML !== shown", arg=shown)
    page.get_by_role("button", name="Webcam").click()
    assert page.locator("#video").is_hidden() and page.locator("#photo").is_visible()


def test_every_layer_and_unit_has_an_address(opened, client):
    page = opened()
    give(page)
    page.get_by_role("tab", name="Inside").click()
    page.locator("#figure a[data-layer=conv2]").click()
    page.wait_for_selector("#layer-name:text-is('conv2')")
    (layer,) = client.json("/maps?layer=conv2&count=48", FILES["photo.jpg"])["layers"]
    page.wait_for_function("() => document.querySelectorAll('#maps .map').length === 16")
    units = page.locator("#maps .map").evaluate_all("maps => maps.map(map => Number(map.hash.split('/')[1]))")
    assert units == [entry["unit"] for entry in layer["strongest"]]
    page.locator("#maps .map").nth(1).click()
    page.wait_for_selector(f"#layer-name:text-is('conv2, unit {units[1]}')")
    assert page.evaluate("location.hash") == f"#conv2/{units[1]}"
    page.get_by_role("link", name="norm1").click()
    page.wait_for_selector("#layer-name:text-is('norm1')")
    page.go_back()
    page.wait_for_selector(f"#layer-name:text-is('conv2, unit {units[1]}')")
    faces = page.locator("#figure image").evaluate_all("faces => faces.map(face => face.getAttribute('href'))")
    assert len(faces) == 8 and all(face.startswith("data:image/") for face in faces)  # the image; two towers; the last
    direct = opened("fc3/7")
    assert direct.locator("#layer-name").inner_text() == "fc3, unit 7"


OVERLAPPING = """() => {
  const maps = '#maps .map > span:last-child, #maps-2 .map > span:last-child';
  const names = ['#figure text', '#curve text', maps, '.nine p'];
  const texts = [...document.querySelectorAll(names.join(', '))];
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width);
  const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
  const pairs = boxes.flatMap(([a, box], i) => boxes.slice(i + 1).map(([b, other]) => [a, b, apart(box, other)]));
  return pairs.filter(([, , free]) => !free);
}"""


def test_the_images_that_drive_a_unit_are_shown_and_can_be_looked_at(opened, client):
    page = opened("conv2/5")
    page.wait_for_selector("#top .nine button")
    strongest = client.json("/units/conv2/5")["strongest"]
    tiles = page.locator("#top .nine button")
    assert tiles.evaluate_all("tiles => tiles.map(tile => tile.title)") == [image["name"] for image in strongest]
    assert strongest[0]["class"] in page.locator("#top").inner_text()
    tiles.nth(3).click()
    page.wait_for_selector("#maps .map")
    expected = client.json("/predict", client(f"/images/{strongest[3]['row']}")[2])["top"][0][1]
    page.wait_for_function("share => document.querySelector('#bars .share')?.title === share", arg=str(expected))
    page.evaluate("location.hash = 'pool1/0'")
    page.wait_for_selector("#top :text('layers with weights of their own: conv1, conv2, fc3, fc4')")


def serious_problems(page) -> list:
    """What axe finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in serious]


def shares(page, bars: str) -> list[str]:
    """The first bar's probability, whole."""
    return page.locator(f"{bars} .share").evaluate_all("shares => shares.map(share => share.title)")[:1]


def test_two_images_stand_beside_each_other(opened, client):
    page = opened(width=360)
    give(page)
    page.get_by_label("Compare with").select_option("photo")
    page.get_by_role("group", name="Examples").get_by_role("button").nth(1).click()
    page.wait_for_selector("#bars-2 li")
    row = client.json("/run")["examples"][1]["row"]
    expected = [
        client.json("/predict", content)["top"] for content in (FILES["photo.jpg"], client(f"/images/{row}")[2])
    ]
    assert [shares(page, bars) for bars in ("#bars", "#bars-2")] == [[str(top[0][1])] for top in expected]
    assert page.locator("#sees").is_visible() and page.locator("#sees-2").is_visible()
    assert page.locator("#elsewhere code").nth(2).inner_text().endswith(f"example-{row}.jpg")
    page.get_by_role("tab", name="Inside").click()
    page.wait_for_selector("#maps-2 .map")
    assert page.locator("#maps .map").count() == page.locator("#maps-2 .map").count() == 16
    upper, lower = (page.locator(maps).bounding_box() for maps in ("#maps", "#maps-2"))
    assert upper["y"] + upper["height"] < lower["y"] and page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not page.evaluate(OVERLAPPING)
    assert not serious_problems(page)
    page.get_by_role("button", name="first").click()
    give(page, "another.jpg")
    assert page.locator("#photo").get_attribute("alt") == "The image: another.jpg"
    page.get_by_label("Compare with").select_option("")
    assert page.locator("#side-inside-2").is_hidden() and page.locator("#sees-2").is_hidden()


def test_two_runs_stand_beside_each_other(browser, run, other, dataset):
    with serving(run, dataset, other=other) as asks:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems, asked = [], []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{asks.port}/#conv1/2")
        page.wait_for_selector("html[data-ready]")
        assert len([url for url in asked if url.startswith("http") and "/units" not in url]) <= 6, asked
        give(page)
        page.wait_for_selector("#maps-2 .map")
        for suffix, name in (("", "run"), ("-2", "other")):
            top = asks.json(f"/predict?run={name}", FILES["photo.jpg"])["top"]
            assert shares(page, f"#bars{suffix}") == [str(top[0][1])]
            page.wait_for_selector(f"#top{suffix} .nine button")
            titles = page.locator(f"#top{suffix} .nine button").evaluate_all("tiles => tiles.map(tile => tile.title)")
            assert titles == [image["name"] for image in asks.json(f"/units/conv1/2?run={name}")["strongest"]]
        left, right = (page.locator(side).bounding_box() for side in ("#side-inside", "#side-inside-2"))
        assert left["x"] + left["width"] <= right["x"] and not page.evaluate(OVERLAPPING)
        lines = page.locator("#elsewhere code").all_text_contents()
        assert lines[2] == f"alexnet predict {other} photo.jpg" and lines[3].endswith("/predict?run=other'")
        page.close()
        assert not problems


def test_what_the_answer_depends_on_is_computed_when_asked_for(opened):
    page = opened("conv1")
    give(page)
    page.get_by_role("button", name="Compute maps").click()
    page.wait_for_selector("#depends figure:nth-of-type(3) img")
    assert "random weights" in page.locator("#depends").inner_text()


def test_similar_images_are_found(opened, client):
    page = opened("similar")
    give(page)
    page.wait_for_selector("#panel-similar .tile")
    exact = client.json("/search?count=12", FILES["photo.jpg"])["neighbors"]
    titles = page.locator("#panel-similar .tile").evaluate_all("tiles => tiles.map(tile => tile.title)")
    assert titles == [neighbor["image"] for neighbor in exact]
    page.get_by_role("switch", name="binary code").click()
    page.wait_for_selector("#panel-similar h2:text('By code: ITQ, 32 bits')")
    both = client.json("/search?count=12&code=itq&bits=32", FILES["photo.jpg"])  # of the image as it is
    coded = both["coded"]
    titles = page.locator("#panel-similar .tile").evaluate_all("tiles => tiles.map(tile => tile.title)")
    assert titles == [neighbor["image"] for neighbor in (*both["neighbors"], *coded["neighbors"])]
    assert page.locator("#coding").inner_text().startswith(f"{coded['overlap']} of the 10 images that are nearest")
    page.get_by_label("Kind and length").select_option("code=hyperplanes&bits=64")
    page.wait_for_selector("#panel-similar h2:text('By code: random hyperplanes, 64 bits')")


def test_the_run_is_shown_with_its_errors(opened, client):
    page = opened("run")
    page.wait_for_selector("#errors table")
    measured = client.json("/errors")
    counts = page.locator("#errors tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => Number(cell.textContent)))"
    )
    assert counts == measured["confusion"]
    assert page.locator("#errors .mistakes button").count() == len(measured["mistakes"])
    assert "Top-1 error fell from" in page.locator("#curve svg").get_attribute("aria-label")
    page.get_by_text("Recipe", exact=True).click()
    assert "momentum" in page.locator("#recipe").inner_text()
    if measured["mistakes"]:
        page.locator("#errors .mistakes button").first.click()
        page.wait_for_selector("#verdict:text('✗')")
        assert page.evaluate("location.hash") == "#predict"


def test_the_reference_is_the_openapi(opened, client):
    page = opened("api")
    page.wait_for_selector("#reference section")
    spec = client.json("/openapi.json")["paths"]
    shown = page.locator("#reference h2").all_inner_texts()
    assert shown == [f"{method.upper()} {path}" for path, methods in spec.items() for method in methods]


def test_all_of_it_by_keyboard(opened):
    page = opened()
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e.getAttribute('aria-label') || e.id || e.textContent.trim())(document.activeElement)"
        )
        names.append(name)
        if name.startswith("Example 1:"):
            page.keyboard.press("Enter")
            page.wait_for_selector("#bars li")
        if name == "tab-predict":
            page.keyboard.press("ArrowRight")
            page.wait_for_selector("#panel-inside:not([hidden])")
            page.wait_for_selector("#maps .map")
        if name.startswith("conv1"):
            page.keyboard.press("Enter")
            page.wait_for_selector("#figure a[data-layer=conv1][aria-current]")
            break
    assert names[0] == "To the answer" and {"file", "webcam", "mean"} <= set(names)
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#conv1"
    page.locator("#tab-inside").focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.id") == "tab-api"


SLOW = pytest.mark.slow
WINDOWS = [
    ("light", 1100),
    ("dark", 360),
    pytest.param("light", 360, marks=SLOW),
    pytest.param("dark", 1100, marks=SLOW),
]


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(opened, scheme, width):
    page = opened(width=width, color_scheme=scheme, reduced_motion="reduce")
    give(page)
    for tab in TABS:
        page.evaluate("tab => { location.hash = tab }", tab)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        serious = serious_problems(page)
        assert not serious, (tab, serious)
        assert page.evaluate("document.getAnimations().length") == 0
        assert not page.evaluate(OVERLAPPING), tab


def test_names_are_text_and_never_markup(opened):
    page = opened()
    name = "<img src=x onerror=alert(1)>'$(reboot).jpg"
    give(page, name)
    assert name.replace("'", "'\\''") in page.locator("#elsewhere code").first.inner_text()
    assert page.locator("#elsewhere img").count() == 0


def test_what_is_no_image_is_said(browser, client):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/")
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#problem:text('not an image')")
    page.set_input_files("#file", {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": FILES["photo.jpg"]})
    page.wait_for_selector("#bars li")
    page.wait_for_selector("#problem", state="hidden")
    page.close()


def test_a_token_comes_with_the_address_and_leaves_it(browser, run, dataset):
    with serving(run, dataset, token="a secret") as asks:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{asks.port}/#token=a%20secret")
        page.wait_for_selector("html[data-ready]")
        assert "secret" not in page.url
        page.get_by_role("group", name="Examples").get_by_role("button").first.click()
        page.wait_for_selector("#bars li")
        assert "$ALEXNET_TOKEN" in page.locator("#elsewhere code").nth(1).inner_text()
        page.close()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{asks.port}/")
        page.wait_for_selector("#problem:text('token')")
        page.close()

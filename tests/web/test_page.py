"""The page in Chromium, used as a person would, by mouse and by keyboard; nothing is asked of anybody else.

`make test-browser` runs these: they fail where Chromium is missing (Debian: `apt-get install chromium`).
"""

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from alexnet.figures.style import number, percent
from tests.web.conftest import serving
from tests.web.test_api import FILES
from tests.web.test_layers import unpacked

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


def test_maps_and_search_are_of_the_one_crop_that_is_framed(opened):
    page = opened()
    give(page)
    page.get_by_role("switch", name="ten views").click()
    for tab, crops in (("predict", 5), ("conv2", 1), ("similar", 1), ("predict", 5)):
        page.evaluate("tab => { location.hash = tab }", tab)
        page.wait_for_function("crops => document.querySelectorAll('#crops div').length === crops", arg=crops)


@pytest.mark.parametrize("address", ["predict", "conv2", "similar"])
def test_on_a_phone_the_answer_comes_into_view(opened, address):
    page = opened(address, width=360, height=740, reduced_motion="reduce")
    give(page)
    page.wait_for_function("() => document.getElementById('output').getBoundingClientRect().top < innerHeight / 2")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.evaluate("scrollBy(0, 200)")
    before = page.evaluate("scrollY")
    give(page, "another.jpg")
    assert page.evaluate("scrollY") == before


def test_on_a_phone_the_chosen_layer_comes_into_view(opened):
    page = opened("fc4/1", width=360, height=740, reduced_motion="reduce")
    link, figure = (page.locator(name).bounding_box() for name in ("#figure a[data-layer=fc4]", "#figure"))
    assert figure["x"] <= link["x"] and link["x"] + link["width"] <= figure["x"] + figure["width"]


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
  const tiles = ['.nine .hit > span:not(.tile)', '.units a > span:last-child'];
  const names = ['#figure text', '#curve text', maps, ...tiles, '.means span'];
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
    page.wait_for_selector("#top :text('Only layers with weights have these images: conv1, conv2, fc3, fc4')")


def serious_problems(page) -> list:
    """What axe finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in serious]


def share(page, bars: str) -> float:
    """The first bar's probability, whole."""
    return float(page.locator(f"{bars} .share").first.get_attribute("title"))


def alike(probability: float):
    """What is a probability, up to the rounding of other batches: images that come together are told together."""
    return pytest.approx(probability, rel=1e-4)


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
    assert [share(page, bars) for bars in ("#bars", "#bars-2")] == [alike(top[0][1]) for top in expected]
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


def test_no_command_names_an_image_that_is_not_there(browser, client):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/?with=photo")
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#elsewhere code").count() == 2
    give(page)
    page.get_by_role("button", name="second", exact=True).click()
    page.set_input_files("#file", {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"no image"})
    page.wait_for_selector("#problem:text('broken.jpg: not an image')")
    lines = page.locator("#elsewhere code").all_inner_texts()
    assert len(lines) == 2 and all("photo.jpg" in line for line in lines)
    page.close()


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
            assert share(page, f"#bars{suffix}") == alike(top[0][1])
            page.wait_for_selector(f"#top{suffix} .nine button")
            titles = page.locator(f"#top{suffix} .nine button").evaluate_all("tiles => tiles.map(tile => tile.title)")
            assert titles == [image["name"] for image in asks.json(f"/units/conv1/2?run={name}")["strongest"]]
        left, right = (page.locator(side).bounding_box() for side in ("#side-inside", "#side-inside-2"))
        assert left["x"] + left["width"] <= right["x"] and not page.evaluate(OVERLAPPING)
        lines = page.locator("#elsewhere code").all_text_contents()
        assert lines[2] == f"alexnet predict {other} photo.jpg" and lines[3].endswith("/predict?run=other'")
        page.close()
        assert not problems


def test_what_is_compared_is_in_the_address(browser, run, other, dataset):
    with serving(run, dataset, other=other) as asks:
        page = browser.new_page()
        address = f"http://127.0.0.1:{asks.port}/"
        page.goto(f"{address}?with=photo#conv2/1")
        page.wait_for_selector("html[data-ready]")
        assert page.get_by_label("Compare with").input_value() == "photo" and page.locator("#drop-2").is_visible()
        page.get_by_label("Compare with").select_option("")
        assert page.url == f"{address}?with=#conv2/1"
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert page.get_by_label("Compare with").input_value() == "" and page.locator("#side-inside-2").is_hidden()
        page.get_by_label("Compare with").select_option("other")
        page.wait_for_selector("#side-inside-2")
        assert page.url == f"{address}#conv2/1"
        page.goto(f"{address}?with=nobody")
        page.wait_for_selector("#problem:text('There is no run “nobody” to compare with.')")
        page.close()


def test_both_runs_are_described(browser, run, other, dataset):
    with serving(run, dataset, other=other) as asks:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{asks.port}/#run")
        page.wait_for_selector("html[data-ready]")
        for suffix, name in (("", "run"), ("-2", "other")):
            page.wait_for_selector(f"#errors{suffix} table")
            facts, measured = asks.json(f"/run?run={name}"), asks.json(f"/errors?run={name}")
            assert page.locator(f"#which{suffix}").inner_text() == name
            assert f"{facts['epochs']:.4g} of" in page.locator(f"#facts{suffix}").inner_text()
            assert f"{measured['errors']['top1_error']:.2%}" in page.locator(f"#errors{suffix} p").first.inner_text()
        assert not page.evaluate(OVERLAPPING) and not serious_problems(page)
        page.get_by_role("tab", name="Inside").click()
        page.wait_for_selector("#own-text-2")
        for suffix in ("", "-2"):
            assert page.locator(f"#own-text{suffix}").inner_text().startswith("Of crops of 48 × 48 pixels: ")
        page.close()


def test_what_the_answer_depends_on_is_computed_when_asked_for(opened, client):
    page = opened("conv1")
    page.get_by_role("button", name="Compute maps").click()
    assert page.locator("#depends").inner_text().startswith("Give an image first")
    give(page)
    assert not page.locator("#depends").inner_text()
    page.get_by_role("button", name="Compute maps").click()
    page.wait_for_selector("#depends figure:nth-of-type(3) img")
    assert "random weights" in page.locator("#depends").inner_text()
    facts = client.json("/run")
    least = client.json("/predict?top=3", FILES["photo.jpg"])["classes"][-1]
    page.get_by_label("Class", exact=True).select_option(least)
    expected = client.json(f"/attributions?class={least}", FILES["photo.jpg"])
    page.wait_for_selector(f"#depends p:text-is('For the class {expected['name']}:')")
    assert page.locator("#depends img").first.get_attribute("src") == expected["maps"]["gradient"]
    command = f"alexnet show {facts['path']} photo.jpg --class {least}"
    assert page.locator("#depends code").inner_text() == command


def test_a_unit_has_an_image_made_for_it_and_its_means_over_classes(opened, client):
    page = opened("conv2/5", width=360)
    page.wait_for_selector("#top .made img")
    made, unit = client.json("/units/conv2/5/made"), client.json("/units/conv2/5")
    picture = np.asarray(Image.open(io.BytesIO(unpacked(page.locator("#top .made img").get_attribute("src")))))
    assert np.array_equal(picture, np.asarray(Image.open(io.BytesIO(unpacked(made["picture"])))))
    assert f"The response is {number(made['response'])}" in page.locator("#top figcaption").inner_text()
    page.wait_for_selector("#top .means li")
    shown = page.locator("#top .means span:first-child").all_inner_texts()
    assert shown == [name for name, _ in sorted(unit["means"], key=lambda pair: -pair[1])]
    assert page.locator("#top code").inner_text() == f"alexnet show {client.json('/run')['path']} --unit conv2:5"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360 and not page.evaluate(OVERLAPPING)
    assert page.locator("#problem").is_hidden() and not serious_problems(page)


def test_a_layer_without_an_image_invites_and_shows_its_units(opened, client):
    page = opened("conv2")
    page.wait_for_selector("#top .units a")
    box, instead = (page.locator(name).bounding_box() for name in ("#side-inside", "#maps .instead"))
    assert instead["width"] > 0.95 * box["width"]
    hashes = page.locator("#top .units a").evaluate_all("links => links.map(link => link.hash)")
    assert hashes == [f"#conv2/{entry['unit']}" for entry in client.json("/units/conv2")["shown"]]
    assert not serious_problems(page) and not page.evaluate(OVERLAPPING)
    assert page.locator("#top [data-turn]").count() == 0  # all sixteen are there
    page.get_by_label("Unit", exact=True).fill("7")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_selector("#layer-name:text-is('conv2, unit 7')")
    page.go_back()
    give(page)
    page.wait_for_selector("#maps .map")
    assert page.locator("#top .units").count() == 0


def test_all_units_of_a_layer_are_seen_page_by_page(opened, client):
    page = opened()
    answer = {**client.json("/units/conv2"), "state": "done", "units": 100, "picture": "data:,"}
    entry = {"row": 0, "name": "a.jpg", "value": 1.5}

    def give_page(route):
        units = range(100)[int(route.request.url.partition("first=")[2] or 2) :][:48]
        route.fulfill(body=json.dumps({**answer, "shown": [{**entry, "unit": unit} for unit in units]}))

    page.route("**/units/conv2*", give_page)
    page.evaluate("location.hash = 'conv2'")
    page.get_by_role("button", name="Next: units 0 to 47").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#top p:text('Units 0 to 47 of 100')")
    page.keyboard.press("Enter")  # the focus stays on it
    page.wait_for_selector("#top p:text('Units 48 to 95 of 100')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#top p:text('Units 96 to 99 of 100')")
    assert page.locator("#top .units a").count() == 4
    page.get_by_role("button", name="Previous: units 48 to 95").click()
    page.wait_for_selector("#top p:text('Units 48 to 95 of 100')")


def test_the_last_layers_units_are_classes(opened, client):
    page = opened("fc4:1")
    assert page.locator("#layer-name").inner_text() == f"fc4, unit 1: {client.json('/run')['words'][1]}"
    assert opened("conv2/").locator("#layer-name").inner_text() == "conv2"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("conv2/999", "conv2 has no unit 999: its units are 0 to 15."),
        ("conv2/x", "conv2 has no unit x: its units are 0 to 15."),
        ("conv9", "There is no layer or tab “conv9”. Layers: conv1, norm1, pool1, conv2, pool2, fc3, fc4."),
        ("%", "There is no layer or tab “%”."),
    ],
)  # fmt: skip
def test_an_address_of_nothing_is_said(opened, address, said):
    page = opened(address)
    assert page.get_by_role("alert").inner_text().startswith(said) and not serious_problems(page)
    give(page)  # an answer takes nothing of that away
    assert page.get_by_role("alert").inner_text().startswith(said)
    page.get_by_role("alert").get_by_role("link").first.click()
    page.wait_for_selector("#problem", state="hidden")
    assert page.locator("#panel-inside").is_visible()


def test_similar_images_are_found(opened, client):
    page = opened("similar")
    give(page)
    page.wait_for_selector("#panel-similar .hit")
    exact = client.json("/search?count=12", FILES["photo.jpg"])["neighbors"]
    titles = page.locator("#panel-similar .hit").evaluate_all("tiles => tiles.map(tile => tile.title)")
    assert titles == [neighbor["image"] for neighbor in exact]
    page.get_by_role("switch", name="binary code").click()
    page.wait_for_selector("#panel-similar h2:text('By code: ITQ, 32 bits')")
    both = client.json("/search?count=12&code=itq&bits=32", FILES["photo.jpg"])
    coded = both["coded"]
    titles = page.locator("#panel-similar .hit").evaluate_all("tiles => tiles.map(tile => tile.title)")
    assert titles == [neighbor["image"] for neighbor in (*both["neighbors"], *coded["neighbors"])]
    assert page.locator("#coding").inner_text().startswith(f"{coded['overlap']} of the 10 nearest images by distance")
    page.get_by_label("Kind and length").select_option("code=hyperplanes&bits=64")
    page.wait_for_selector("#panel-similar h2:text('By code: random hyperplanes, 64 bits')")


def test_a_similar_image_has_a_name_and_is_searched_by_when_it_is_chosen(opened, client):
    page = opened("similar", width=360)
    give(page)
    page.wait_for_selector("#neighbors .hit")
    third = client.json("/search?count=12", FILES["photo.jpg"])["neighbors"][2]
    names = page.locator("#neighbors .name")
    assert names.nth(2).inner_text() == third["image"].rpartition("/")[2]
    assert page.locator("#neighbors .hit").nth(2).get_attribute("title") == third["image"]
    page.locator("#neighbors .hit").nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("path => document.querySelector('#neighbors .hit').title === path", arg=third["image"])
    assert "the same picture" in page.locator("#neighbors .hit .quiet").first.inner_text()
    assert page.evaluate("document.activeElement === document.querySelector('#neighbors .hit')")
    assert page.locator("#photo").get_attribute("alt") == f"The image: {third['image']}"
    command, line = page.locator("#neighbors code").all_inner_texts()
    assert command == f"alexnet search {client.json('/run')['similar']['path']} {third['image']} --count 12"
    assert f"@{third['image']}" in line.replace("'", "")
    page.get_by_role("tab", name="Predict").click()
    top = client.json("/predict", client(f"/similar/{third['place']}")[2])["top"]
    page.wait_for_function("share => document.querySelector('#bars .share')?.title === share", arg=str(top[0][1]))


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
    page.get_by_text("Recipe", exact=True).first.click()
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


def test_after_what_is_no_image_nothing_of_the_one_before_stays(browser, client):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/#conv2")
    page.wait_for_selector("html[data-ready]")
    height = page.locator("#drop").bounding_box()["height"]
    give(page)
    page.wait_for_selector("#figure image[href]", state="attached")
    page.set_input_files("#file", {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"no image"})
    page.wait_for_selector("#problem:text('broken.jpg: not an image')")
    assert page.locator("#drop").bounding_box()["height"] == height and page.locator("#invite").is_visible()
    assert page.locator("#photo").is_hidden() and page.locator("#sees").is_hidden()
    assert page.locator("#figure image[href]").count() == page.locator("#maps .map").count() == 0
    assert page.locator("#maps .instead").is_visible() and page.locator("#bars li").count() == 0
    assert "photo.jpg" in page.locator("#elsewhere code").first.text_content()  # what is said where there is none
    page.get_by_role("tab", name="Similar").click()
    assert "Give an image" in page.locator("#neighbors").inner_text()
    page.close()


NUMBERS = [1.5, 12.345, 123.5, 1234.5, 0.16, 0.00015, 0.0000151, 9.996, 99.96, -2.5, -0.125, 0.0625, 3e7, 0.0, 2.125]


def test_measured_numbers_are_rounded_as_the_figures_round_them(browser, client):
    page = browser.new_page()
    answer = client.json("/units/conv2/5")
    while answer["state"] != "done":
        client("/units", b"")
        answer = client.json("/units/conv2/5")
    answer["strongest"] = [{**answer["strongest"][0], "value": value} for value in NUMBERS]
    page.route("**/units/conv2/5", lambda route: route.fulfill(body=json.dumps(answer)))
    page.goto(f"http://127.0.0.1:{client.port}/#conv2/5")
    page.wait_for_selector("#top .nine .hit")
    shown = page.locator("#top .nine .hit > span:nth-child(2)").all_inner_texts()
    assert shown == [number(value) for value in NUMBERS]
    page.close()


def test_two_images_have_one_scale(opened, client):
    page = opened("conv2/1")
    give(page)
    page.get_by_label("Compare with").select_option("photo")
    page.get_by_role("group", name="Examples").get_by_role("button").nth(1).click()
    page.wait_for_selector("#maps-2 .map")
    row = client.json("/run")["examples"][1]["row"]
    photos = FILES["photo.jpg"], client(f"/images/{row}")[2]
    layers = [client.json("/maps?layer=conv2&unit=1&count=24", photo)["layers"][0] for photo in photos]
    white = max(layer["highest"] for layer in layers)
    for maps, photo in zip(("#maps", "#maps-2"), photos):
        (layer,) = client.json(f"/maps?layer=conv2&unit=1&white={white}", photo)["layers"]
        shown = page.locator(f"{maps} .pixels").evaluate("tile => tile.style.backgroundImage")
        assert shown == f'url("{layer["picture"]}")'
    for text in ("#unit", "#unit-2"):
        said = f"white is {number(white)}, the layer's highest value in both images."
        assert said in page.locator(text).inner_text()


def test_one_point_of_a_curve_is_a_dot(browser, client):
    page = browser.new_page()
    facts = client.json("/run")
    facts["curve"]["val"] = facts["curve"]["val"][:1]
    page.route("**/run", lambda route: route.fulfill(body=json.dumps(facts)))
    page.goto(f"http://127.0.0.1:{client.port}/#run")
    page.wait_for_selector("#curve circle.val")
    page.close()


SHARES = [0.0625, 0.1875, 0.0635, 0.00125, 0.9995, 0.15, 0.0, 1.0, 1e-9]


def test_numbers_are_rounded_as_the_commands_round_them(browser, client):
    page = browser.new_page()
    answer = client.json("/predict", FILES["photo.jpg"])
    answer["top"] = [[f"class {rank}", share] for rank, share in enumerate(SHARES)]
    answer["classes"] = [name for name, _ in answer["top"]]
    facts = client.json("/run")
    facts["errors"] = {"val": {"top1_error": 0.0625, "top1_interval": [0.0625, 0.1875], "images": 16}}
    page.route("**/predict?*", lambda route: route.fulfill(body=json.dumps(answer)))
    page.route("**/run", lambda route: route.fulfill(body=json.dumps(facts)))
    page.goto(f"http://127.0.0.1:{client.port}/")
    page.wait_for_selector("html[data-ready]")
    give(page)
    assert page.locator("#bars .share").all_inner_texts() == [percent(share) for share in SHARES]
    assert f"{0.0625:.2%} error" in page.locator("#what").inner_text()
    page.get_by_role("tab", name="Run").click()
    interval = f"95% interval {0.0625:.1%} to {0.1875:.1%}"
    assert f"{0.0625:.2%} of 16 images, {interval}" in page.locator("#facts").inner_text()
    page.close()


def test_curl_lines_work_where_a_token_is_asked_for(browser, run, dataset, index, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(FILES["photo.jpg"])
    environment = {"PATH": os.environ["PATH"], "ALEXNET_TOKEN": "a.secret"}
    with serving(run, dataset, token="a.secret", index=index) as asks:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{asks.port}/#token=a.secret")
        page.wait_for_selector("html[data-ready]")
        give(page)
        lines = [page.locator("#elsewhere code").nth(1).text_content()]
        page.get_by_role("tab", name="Similar").click()
        page.wait_for_selector("#neighbors code")
        lines.append(page.locator("#neighbors code").nth(1).text_content())
        page.get_by_role("tab", name="API").click()
        page.wait_for_selector("#reference section")
        reference = page.locator("#reference code").all_text_contents()
        assert not [text for text in page.locator("#reference p, #reference li").all_text_contents() if "`" in text]
        page.close()
        lines += [line for line in reference if line.startswith("curl ") and not line.endswith("/features")]
        assert len(lines) > 12
        for line in lines:
            asked = ["bash", "-c", line.replace("curl", "curl -s -w %{http_code}", 1)]
            answer = subprocess.run(asked, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            mistakes = line.endswith("/mistakes.jpg")  # not measured yet, perhaps
            assert answer.stdout[-3:] in (("200", "404") if mistakes else ("200",)), (line, answer.stdout[-300:])
        environment["ALEXNET_TOKEN"] = "another"
        asked = ["bash", "-c", lines[0].replace("curl", "curl -s -w %{http_code}", 1)]
        answer = subprocess.run(asked, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert answer.stdout.endswith("401")


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

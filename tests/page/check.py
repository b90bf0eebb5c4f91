"""Uses the page in a browser, as people do, against a service: check.py PROGRAM [SCENARIO...]

Runs all SCENARIOS or the given ones and exits with 1 if one fails. The browser's console must be
empty after each. The service has a shipped model, except in scenarios about models without
sketches, which use MODEL_WITHOUT_SKETCHES. Elements are found by what users see and reach: roles,
names and text.
"""

import base64
import json
import os
import re
import subprocess
import sys
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browser import ROOT, SAMPLES, Console, Proxy, Service, browser, until

QUERY = sorted((SAMPLES / "queries/horse").iterdir())[0]
MODEL = ROOT / "models/cifar10.safetensors"
VIEWS = ["search", "gallery", "models", "status"]
KEYS = {"READ": "a-key-to-read-with", "WRITE": "a-key-to-write-with", "ADMIN": "a-key-to-administer-with"}
# Milliseconds that a training may take on a busy machine.
TRAINING_TIMEOUT = 600_000
expect.set_options(timeout=20_000)


def file_of(path):
    return {"name": path.name, "mimeType": "image/jpeg", "buffer": path.read_bytes()}


def summary(page):
    return page.get_by_role("region", name="Results").get_by_role("status")


def found(page):
    """Returns the images in the results."""
    return page.get_by_role("region", name="Results").get_by_role("listitem")


def search_by_file(page):
    page.goto("#search")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
    expect(page.get_by_alt_text(f"Query image: {QUERY.name}")).to_be_visible()
    assert "horse" in found(page).first.inner_text()
    expect(page.get_by_role("heading", name="By similarity")).to_be_visible()
    loaded = "[...document.querySelectorAll('.found img')].slice(0, 4).every((image) => image.complete && image.naturalWidth > 0)"
    until(page, loaded)
    assert re.search(r"inference [\d.]+ ms", summary(page).inner_text())


def search_by_drop(page):
    page.goto("#search")
    expect(page.get_by_role("heading", name="Or start with one of")).to_be_visible()
    transfer = page.evaluate_handle(
        """([name, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: 'image/jpeg' }));
            return transfer;
        }""",
        [QUERY.name, base64.b64encode(QUERY.read_bytes()).decode()],
    )
    page.get_by_role("main").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.get_by_alt_text(f"Query image: {QUERY.name}")).to_be_visible()
    expect(summary(page)).to_contain_text("most similar of")


def search_by_paste(page):
    page.goto("#search")
    expect(page.get_by_role("heading", name="Or start with one of")).to_be_visible()
    page.evaluate(
        """async (base64) => {
            const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
            await navigator.clipboard.write([new ClipboardItem({ 'image/png': new Blob([bytes], { type: 'image/png' }) })]);
        }""",
        base64.b64encode((ROOT / "tests/fixtures/alpha.png").read_bytes()).decode(),
    )
    page.keyboard.press("Control+V")
    expect(page.get_by_alt_text(re.compile("Query image: .*png"))).to_be_visible()
    expect(summary(page)).to_contain_text("most similar of")


def within(page, bits):
    page.get_by_label("Limit the distance").check()
    page.get_by_label("Radius").fill(str(bits))
    expect(summary(page)).to_contain_text(f"within {bits} bits")


def search_options_change_the_results(page):
    page.goto("#search?id=cat:0030.jpg")
    expect(summary(page)).to_contain_text("most similar of 400 images")
    expect(page.get_by_label("Radius")).to_be_hidden()
    within(page, 2)
    few = found(page).count()
    page.get_by_label("Maximum images").fill("200")
    within(page, 20)
    assert found(page).count() > few
    page.get_by_label("24", exact=True).check()
    expect(page.get_by_role("region", name="Results").locator("code").first).to_have_text(re.compile(r"^[0-9a-f]{6}$"))
    page.get_by_label("Only images with label").fill("dog")
    page.get_by_label("Only images with label").press("Tab")
    until(page, "[...document.querySelectorAll('.found li')].every((one) => one.innerText.startsWith('dog'))")
    assert "label=dog" in page.url and "bits=24" in page.url and "radius=20" in page.url
    page.get_by_label("Limit the distance").uncheck()
    expect(summary(page)).to_contain_text("The 40 most similar of 40 images")
    assert "radius" not in page.url


def a_model_without_sketches_shows_rings_by_distance(page):
    page.goto("#search")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text("The 50 nearest of 400 images")
    distances = [text for text in page.get_by_role("heading", level=2).all_inner_texts() if "away" in text or "same code" in text]
    assert distances, "no rings"
    within(page, 20)
    expect(page.get_by_role("heading", name=re.compile(r"^\d+ bits away"))).not_to_have_count(0)
    expect(page.get_by_label("Relation")).to_be_hidden()
    # An address of another service, whose model makes sketches.
    page.goto("/")
    page.goto("#search?id=cat:0030.jpg&relation=copy")
    expect(summary(page)).to_contain_text("The 50 nearest of 400 images")


def an_empty_result_offers_a_wider_search(page):
    page.goto("#search?code=000000000000&radius=0")
    page.get_by_role("button", name="Search within 4 bits").click()
    expect(summary(page)).to_contain_text("within 4 bits")


def show_more_extends_the_results(page):
    page.goto("#search?id=cat:0030.jpg&radius=48&limit=10")
    expect(summary(page)).to_contain_text("400 images within 48 bits, 10 shown")
    page.get_by_role("button", name="Show more").click()
    expect(summary(page)).to_contain_text("20 shown")
    expect(found(page)).to_have_count(20)


def a_match_shows_which_bits_differ(page):
    page.goto("#search?id=cat:0030.jpg&radius=48&limit=200")
    found(page).last.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    bits = re.search(r"The codes differ in (\d+) of 48 bits: ([\d, ]+)\.", dialog.get_by_text("The codes differ").inner_text())
    assert int(bits[1]) == len(bits[2].split(",")) == dialog.locator(".differs").count()
    codes = [int(code, 16) for code in dialog.locator("code").all_inner_texts()[:2]]
    wanted = [49 - bit for bit in range(48, 0, -1) if (codes[0] ^ codes[1]) >> (bit - 1) & 1]
    assert [int(bit) for bit in bits[2].split(",")] == wanted
    expect(dialog.get_by_role("img", name=re.compile("differs in bits"))).to_have_count(1)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def a_search_can_be_shared_as_link_and_curl(page, service):
    page.goto("#search")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text("most similar of")
    page.get_by_text("Share this search").click()
    shown = found(page).all_inner_texts()
    total = int(re.search(r"of (\d+) images", summary(page).inner_text())[1])
    link = page.get_by_label("link", exact=True).input_value()
    curl = page.get_by_label("curl", exact=True).input_value()
    answer = subprocess.run(["sh", "-c", curl], cwd=QUERY.parent, capture_output=True, text=True, check=True).stdout
    assert f'"total":{total}' in answer, (curl, answer)
    page.get_by_role("button", name="Copy curl").click()
    assert page.evaluate("navigator.clipboard.readText()") == curl
    other = page.context.new_page()
    other.goto(link)
    expect(summary(other)).to_contain_text(f"{total} image")
    assert found(other).all_inner_texts() == shown
    expect(other.get_by_text("a code without a picture")).to_be_visible()
    other.close()


def asked_by_curl(page, having="curl"):
    """Waits until the curl command contains `having`; returns the command and its output."""
    expect(page.get_by_label("curl", exact=True)).to_have_value(re.compile(having))
    command = page.get_by_label("curl", exact=True).input_value()
    output = subprocess.run(["sh", "-c", command], cwd=QUERY.parent, capture_output=True, text=True, check=True).stdout
    return command, json.loads(output)


def shows(page, answer):
    """Waits until the results are those of an answer, in order."""
    wanted = [match["code"] for match in answer["matches"]]
    expect(found(page).locator("code")).to_have_text(wanted)


def searched(page, path, photo):
    """Returns the service's answer to a photo."""
    return page.request.post(path, data=photo, headers={"content-type": "image/jpeg"}).json()


def by_touch(page, points):
    """Draws with a finger."""
    session = page.context.new_cdp_session(page)
    touch = lambda kind, at: session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at[0], "y": at[1]}] if at else []})
    touch("touchStart", points[0])
    for point in points[1:]:
        touch("touchMove", point)
    touch("touchEnd", None)


def search_by_a_part_of_the_picture(page):
    """Draws a part with the mouse, sets it by keyboard, draws it with a finger, and clears it."""
    page.goto("#search")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    photo = QUERY.read_bytes()
    whole = searched(page, "/search?bits=48&limit=50", photo)
    shows(page, whole)
    clear = page.get_by_role("button", name="Use the whole picture")
    expect(clear).to_be_hidden()
    page.get_by_alt_text(f"Query image: {QUERY.name}").scroll_into_view_if_needed()

    def at(x, y):
        box = page.get_by_alt_text(f"Query image: {QUERY.name}").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*at(0.95, 0.95))
    page.mouse.down()
    page.mouse.move(*at(0.7, 0.7))
    page.mouse.move(*at(0.5, 0.5))
    page.mouse.up()
    expect(clear).to_be_visible()
    command, answer = asked_by_curl(page, "box=")
    drawn = [float(share) for share in re.search(r"box=([\d.,]+)", command)[1].split(",")]
    assert all(abs(share - wanted) < 0.02 for share, wanted in zip(drawn, [0.5, 0.5, 0.45, 0.45])), drawn
    assert answer["query"]["code"] != whole["query"]["code"] and answer["query"]["box"] == drawn
    shows(page, answer)

    page.get_by_text("Set the part with sliders").click()
    sliders = [page.get_by_label(name) for name in ("Left, %", "Top, %", "Width, %", "Height, %")]
    assert [slider.input_value() for slider in sliders] == [str(round(100 * share)) for share in drawn]
    sliders[2].focus()
    page.keyboard.press("End")
    sliders[3].focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    # It is as wide as the picture, so its left edge is at 0.
    height = round(100 * drawn[3]) - 5
    assert [slider.input_value() for slider in sliders[::2]] == ["0", "100"]
    top = int(sliders[1].input_value()) / 100
    shows(page, searched(page, f"/search?bits=48&limit=50&box=0,{top},1,{height / 100}", photo))

    by_touch(page, [at(0, 0), at(0.3, 0.4), at(0.5, 1)])
    expect(sliders[3]).to_have_value("100")
    shows(page, searched(page, "/search?bits=48&limit=50&box=0,0,0.5,1", photo))
    found(page).first.get_by_role("button").click()
    expect(page.get_by_role("dialog").locator(".framed .edge")).to_have_attribute("height", "1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    # Too small to be intended.
    page.mouse.click(*at(0.5, 0.5))
    expect(sliders[3]).to_have_value("100")
    clear.click()
    expect(clear).to_be_hidden()
    shows(page, whole)


def search_by_a_part_of_a_stored_picture(page, service):
    page.goto("#search?id=cat:0030.jpg")
    expect(summary(page)).to_contain_text("most similar of 400 images")
    photo = page.request.get("/images/cat:0030.jpg/content").body()
    page.get_by_text("Set the part with sliders").click()
    page.get_by_label("Height, %").fill("50")
    part = searched(page, "/search?bits=48&limit=50&box=0,0,1,0.5", photo)
    shows(page, part)
    until(page, "location.hash.startsWith('#search?code=')")
    _, answer = asked_by_curl(page, "box=")
    assert answer["matches"] == part["matches"]
    page.get_by_role("button", name="Use the whole picture").click()
    expect(found(page).first).to_contain_text("cat")
    until(page, "location.hash.includes('id=cat')")


def drop_a_copy(page, id, size):
    """Drops a scaled-down copy of a stored picture."""
    page.evaluate(
        """async ([id, size]) => {
            const stored = await (await fetch(`/images/${id}/content`)).blob();
            const small = await createImageBitmap(stored, { resizeWidth: size, resizeHeight: size, resizeQuality: 'high' });
            const canvas = new OffscreenCanvas(size, size);
            canvas.getContext('2d').drawImage(small, 0, 0);
            const transfer = new DataTransfer();
            transfer.items.add(new File([await canvas.convertToBlob()], 'small.png', { type: 'image/png' }));
            document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [id, size],
    )


def results_are_ordered_by_similarity(page):
    page.goto("#search")
    expect(page.get_by_role("heading", name="Or start with one of")).to_be_visible()
    first = found(page).first
    # At 32 pixels, three quarters of the size is still a copy, and half of it still comes first.
    drop_a_copy(page, "bird:0038.jpg", 24)
    expect(first.get_by_role("img")).to_have_attribute("alt", "bird, bird:0038.jpg")
    expect(first).to_contain_text(re.compile(r"Copy · (0\.9\d|1\.00)"))
    drop_a_copy(page, "cat:0030.jpg", 16)
    expect(first.get_by_role("img")).to_have_attribute("alt", "cat, cat:0030.jpg")
    expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
    expect(first).to_contain_text(re.compile(r"Same kind · 0\.\d\d"))
    similarities = [float(text.split()[-1]) for text in found(page).locator("span.caption:last-of-type").all_inner_texts()]
    assert similarities == sorted(similarities, reverse=True) and len(similarities) == 50, similarities
    first.get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile(r"Similarity \(1 is the highest\): Same kind · "))
    page.keyboard.press("Escape")
    shown = found(page).all_inner_texts()
    address = page.url
    assert "sketch=" in address and "model=" in address

    # Opens the address without the picture.
    page.goto("/")
    page.goto(address)
    expect(page.get_by_text("a code without a picture")).to_be_visible()
    expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
    assert found(page).all_inner_texts() == shown
    command, answer = asked_by_curl(page)
    assert '"sketch"' in command and answer["query"]["order"] == "similarity"
    page.get_by_label("Maximum images").fill("20")
    expect(summary(page)).to_contain_text("The 20 most similar of 400 images")
    within(page, 40)
    expect(page.get_by_role("heading", name="By similarity")).to_be_visible()

    # An address without the sketch, and one of another model.
    page.goto(re.sub("&sketch=[^&]*", "", address))
    expect(page.get_by_role("region", name="Results")).to_contain_text("Ordered by distance, because the address has no sketch")
    expect(summary(page)).to_contain_text("The 50 nearest of 400 images")
    expect(page.get_by_label("Relation")).to_be_disabled()
    page.goto(re.sub("model=[^&]*", "model=0123456789ab", address))
    expect(page.get_by_role("region", name="Results")).to_contain_text("Ordered by distance. The address was made by model 0123456789ab")
    expect(summary(page)).to_contain_text("The 50 nearest of 400 images")


def results_can_be_limited_to_copies_or_kin(page):
    thresholds = page.request.get("info").json()["thresholds"]
    copy, kin = (re.escape(f"{thresholds[name]:.2f}") for name in ("copy", "kin"))
    page.goto("#search?id=cat:0030.jpg")
    expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
    alike = page.get_by_label("Relation")
    alike.select_option("kin")
    expect(summary(page)).to_contain_text(re.compile(rf"^\d+ images with a similarity of at least {kin}"))
    page.get_by_label("Maximum images").fill("200")
    command, answer = asked_by_curl(page, "min_similarity=.*limit=200|limit=200.*min_similarity=")
    assert 1 < answer["total"] < 200 and answer["query"]["min_similarity"] == thresholds["kin"], (command, answer["query"])
    shows(page, answer)
    assert all(re.search("Copy|Same kind", text) for text in found(page).all_inner_texts())
    alike.select_option("copy")
    expect(summary(page)).to_contain_text(re.compile(f"1 image with a similarity of at least {copy}"))
    expect(found(page)).to_have_count(1)
    address = page.url
    assert "relation=copy" in address

    # Opens the address; then searches with another picture, which has no copy.
    page.goto("/")
    page.goto(address)
    expect(summary(page)).to_contain_text(re.compile(f"1 image with a similarity of at least {copy}"))
    expect(alike).to_have_value("copy")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(page.get_by_text("No image is that similar.")).to_be_visible()
    page.get_by_role("button", name="Show the most similar").click()
    expect(summary(page)).to_contain_text("The 200 most similar of 400 images")
    expect(alike).to_have_value("")
    assert "relation" not in page.url


def a_file_that_is_no_image_is_refused(page):
    page.goto("#search")
    page.get_by_label("Drop, paste or choose an image").set_input_files({"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"})
    alert = page.get_by_role("region", name="Results").get_by_role("alert")
    expect(alert).to_contain_text("JPEG, PNG")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text("most similar of")


def the_gallery_has_pages_and_a_label_filter(page):
    page.goto("#gallery")
    status = page.get_by_text(re.compile(r"^\d+ to \d+ of"))
    expect(status).to_have_text("1 to 60 of 400 images")
    first = page.locator("main > .grid img").first.get_attribute("alt")
    page.get_by_role("button", name="Next page").click()
    expect(status).to_have_text("61 to 120 of 400 images")
    assert page.locator("main > .grid img").first.get_attribute("alt") != first
    page.get_by_role("button", name="Previous page").click()
    expect(status).to_have_text("1 to 60 of 400 images")
    assert page.locator("main > .grid img").first.get_attribute("alt") == first
    page.get_by_label("Show").select_option(label="frog (40)")
    expect(status).to_have_text("1 to 40 of 40 images")
    assert all(alt.startswith("frog") for alt in page.locator("main > .grid img").evaluate_all("(all) => all.map((one) => one.alt)"))
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.reload()
    expect(status).to_have_text("1 to 40 of 40 images")


def a_model_without_thresholds_finds_no_duplicates(page):
    page.goto("#gallery")
    page.get_by_text("Duplicates: images that are copies").click()
    expect(page.get_by_text("has no similarity threshold for copies")).to_be_visible()


def a_bad_file_does_not_stop_an_upload(page):
    page.goto("#gallery")
    page.get_by_label("Labels for these files").fill("mine, new ones")
    good = [file_of(path) for path in sorted((SAMPLES / "queries/cat").iterdir())[:4]]
    page.get_by_label("Drop, paste or choose files").set_input_files([*good[:2], {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"bad"}, *good[2:]])
    expect(page.get_by_text("4 of 5 files stored, 1 refused.")).to_be_visible()
    bad = page.locator(".files li", has_text="bad.jpg")
    expect(bad).to_contain_text("JPEG, PNG")
    expect(page.locator(".files li", has_text="stored")).to_have_count(4)
    page.get_by_label("Show").select_option(label="new ones (4)")
    expect(page.get_by_text("1 to 4 of 4 images")).to_be_visible()


def labels_are_changed_and_images_deleted(page):
    page.goto("#gallery?label=new+ones")
    expect(page.get_by_text("1 to 4 of 4 images")).to_be_visible()
    page.locator("main > .grid button").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Labels").fill("mine, old ones , mine")
    dialog.get_by_role("button", name="Change labels").click()
    expect(dialog.get_by_role("status")).to_have_text("Labels changed.")
    assert dialog.get_by_label("Labels").input_value() == "mine, old ones"
    page.keyboard.press("Escape")
    expect(page.get_by_text("1 to 3 of 3 images")).to_be_visible()
    for left in (2, 1, 0):
        page.locator("main > .grid button").first.click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Really delete?").click()
        expect(page.get_by_text(f"1 to {left} of {left} image" if left else "No images here yet.")).to_be_visible()
    page.get_by_label("Show").select_option(label="old ones (1)")
    page.locator("main > .grid button").first.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.get_by_text("No images here yet.")).to_be_visible()


def copies_are_found_and_deleted(page):
    twice = [SAMPLES / "gallery/cat/0030.jpg", SAMPLES / "gallery/ship/0008.jpg"]
    page.goto("#gallery")
    page.get_by_text("Duplicates: images that are copies").click()
    expect(page.get_by_text("Duplicates have not been searched for yet.")).to_be_visible()
    page.get_by_label("Labels for these files").fill("again")
    # One of them as a lossless copy in another format.
    png = page.evaluate(
        """async (id) => {
            const bitmap = await createImageBitmap(await (await fetch(`/images/${id}/content`)).blob());
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            canvas.getContext('2d').drawImage(bitmap, 0, 0);
            const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
            return btoa(String.fromCharCode(...bytes));
        }""",
        "cat:0030.jpg",
    )
    another = {"name": "another.png", "mimeType": "image/png", "buffer": base64.b64decode(png)}
    page.get_by_label("Drop, paste or choose files").set_input_files([*map(file_of, twice), another])
    expect(page.get_by_text("3 of 3 files stored.")).to_be_visible()
    page.get_by_role("button", name="Find duplicates").click()
    expect(page.get_by_text("3 images of 403 are copies of an older one, in 2 groups")).to_be_visible()
    groups = page.locator(".duplicates")
    expect(groups.get_by_role("heading")).to_have_text(["3 images", "2 images"])
    cats, ships = groups.first.get_by_role("button"), groups.last.get_by_role("button")
    expect(cats.first).to_have_accessible_name(re.compile("cat:0030.jpg the oldest"))
    expect(ships.first).to_have_accessible_name(re.compile("ship:0008.jpg the oldest"))
    expect(cats.last).to_contain_text(re.compile(r"0\.9\d\d|1\.000"))
    wrong = violations(page)
    assert not wrong, wrong
    filter_input(page).fill('labels = "ship"')
    filter_input(page).press("Enter")
    expect(page.get_by_text("0 images of the 40 selected here are copies of an older one")).to_be_visible()
    filter_input(page).fill('id STARTS WITH "ship" OR labels = "again"')
    filter_input(page).press("Enter")
    expect(page.get_by_text("2 images of the 43 selected here are copies of an older one, in 2 groups")).to_be_visible()
    filter_input(page).fill("")
    filter_input(page).press("Enter")
    expect(page.get_by_text("3 images of 403 are copies of an older one, in 2 groups")).to_be_visible()

    def delete(button):
        button.click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Really delete?").click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    delete(cats.last)
    expect(groups.first.get_by_role("heading")).to_have_text("3 images 1 deleted or changed since")
    expect(page.get_by_text("The gallery has changed since.")).to_be_visible()
    expect(cats).to_have_count(2)
    delete(cats.last)
    # One cat is left, which is no group.
    expect(groups).to_have_count(1)
    page.get_by_role("button", name="Find duplicates again").click()
    expect(page.get_by_text("1 image of 401 is a copy of an older one, in 1 group")).to_be_visible()
    expect(page.get_by_text("The gallery has changed since.")).to_have_count(0)
    delete(ships.last)
    page.get_by_role("button", name="Find duplicates again").click()
    expect(page.get_by_text("0 images of 400 are copies of an older one")).to_be_visible()
    expect(groups).to_have_count(0)


def filter_input(page):
    return page.get_by_role("combobox", name="Filter", exact=True)


def suggestions(page):
    return page.get_by_role("listbox", name="Suggestions").get_by_role("option")


PRICES = {"cat:0030.jpg": 10, "bird:0038.jpg": 60, "ship:0008.jpg": "free"}


def with_prices(page):
    """Stores payloads with prices, one of them a text."""
    for image, price in PRICES.items():
        answer = page.request.patch(f"/images/{image}", data={"payload": {"price": price, "size": {"width": 32}}})
        assert answer.ok, answer.text()


def with_a_field(page):
    """Declares the prices of `with_prices` as a field, and waits until it is built."""
    with_prices(page)
    answer = page.request.put("/admin/fields/price", data={"type": "number"})
    assert answer.ok, answer.text()
    end = time.monotonic() + 20
    while not page.request.get("/admin/fields/price").json()["built"]:
        assert time.monotonic() < end, "the field is never built"
        time.sleep(0.05)


def fields_are_declared_and_deleted(page):
    with_prices(page)
    page.goto("#models")
    declare = page.get_by_role("button", name="Declare the field")
    expect(declare).to_be_visible()
    expect(page.get_by_role("region", name="Fields")).to_have_count(0)
    page.get_by_label("Member of payloads").fill("price")
    page.get_by_label("Type of its values").select_option("number")
    declare.click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_have_text("succeeded · 400 images")
    price = page.get_by_role("region", name="Fields").get_by_role("row", name=re.compile("^price"))
    expect(price.get_by_role("cell")).to_have_text(["number", "built", "2", "1", "Delete"])
    expect(page.get_by_role("region", name="Jobs").get_by_role("row").nth(1)).to_contain_text("Building a field")
    wrong = violations(page)
    assert not wrong, wrong

    page.get_by_label("Member of payloads").fill("price")
    page.get_by_label("Type of its values").select_option("keyword")
    declare.click()
    expect(page.get_by_role("alert").filter(has_text="price")).to_contain_text("number")
    page.get_by_label("Member of payloads").fill('size."full width')
    declare.click()
    expect(page.get_by_role("alert").filter(has_text="full width")).to_be_visible()
    page.get_by_label("Member of payloads").fill("size.width")
    page.get_by_label("Type of its values").select_option("integer")
    declare.click()
    width = page.get_by_role("region", name="Fields").get_by_role("row", name=re.compile("^size.width"))
    expect(width.get_by_role("cell")).to_have_text(["integer", "built", "3", "0", "Delete"])
    delete = page.get_by_role("button", name="Delete the field size.width")
    delete.click()
    expect(delete).to_have_text("Really delete?")
    delete.click()
    expect(page.get_by_text("Deleted the field size.width. Payloads are unchanged.")).to_be_visible()
    expect(width).to_have_count(0)
    expect(price).to_have_count(1)


def shown_ids(page):
    """Returns the ids of the images in the gallery, in order."""
    return page.locator("main > .grid img").evaluate_all("(all) => all.map((one) => one.alt.split(', ').at(-1))")


def the_gallery_has_a_filter_and_an_order(page):
    """By keyboard, with suggestions."""
    with_a_field(page)
    page.goto("#gallery")
    status = page.get_by_text(re.compile(r"^\d+ to \d+ of"))
    expect(status).to_have_text("1 to 60 of 400 images")
    actions = page.get_by_role("button", name=re.compile("that pass…$"))
    expect(actions).to_have_count(0)
    box = filter_input(page)
    below = status.bounding_box()
    box.focus()
    expect(suggestions(page)).to_have_count(0)
    page.keyboard.press("ArrowDown")
    expect(suggestions(page)).to_have_text(["pricenumber", "labelstext", "idtext", "created_at_mstime", "updated_at_mstime", re.compile("^NOT")])
    assert box.get_attribute("aria-expanded") == "true" and status.bounding_box() == below
    page.keyboard.press("Escape")
    expect(suggestions(page)).to_have_count(0)
    page.keyboard.type("PR")
    expect(suggestions(page)).to_have_text(["pricenumber"])
    page.keyboard.press("ArrowUp")
    marked = page.get_by_role("listbox", name="Suggestions").get_by_role("option", selected=True)
    expect(marked).to_have_text("pricenumber")
    assert box.get_attribute("aria-activedescendant") == marked.get_attribute("id")
    page.keyboard.press("Enter")
    expect(box).to_have_value("price ")
    expect(suggestions(page).filter(has_text="STARTS WITH")).to_have_count(0)
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(marked).to_have_text(re.compile("^<"))
    page.keyboard.press("Enter")
    page.keyboard.type("50 ")
    expect(suggestions(page)).to_have_text([re.compile("^AND"), re.compile("^OR")])
    page.keyboard.type("or labels = fr")
    expect(suggestions(page)).to_have_text(['"frog"'])
    suggestions(page).first.click()
    expect(box).to_have_value('price < 50 or labels = "frog" ')
    expect(box).to_be_focused()
    page.keyboard.press("Enter")
    expect(status).to_have_text("1 to 41 of 41 images")
    expect(suggestions(page)).to_have_count(0)

    order = page.get_by_label("Order")
    expect(order.get_by_role("option")).to_have_text(["oldest first", "price, ascending", "price, descending"])
    box.fill("price exists")
    box.press("Tab")
    order.select_option("-price")
    expect(status).to_have_text("1 to 3 of 3 images")
    until(page, "document.querySelector('main > .grid img').alt.endsWith('bird:0038.jpg')")
    assert shown_ids(page) == ["bird:0038.jpg", "cat:0030.jpg", "ship:0008.jpg"]
    order.select_option("price")
    until(page, "document.querySelector('main > .grid img').alt.endsWith('cat:0030.jpg')")
    assert "filter=price+exists" in page.url and "order_by=price" in page.url, page.url
    page.reload()
    expect(status).to_have_text("1 to 3 of 3 images")
    expect(box).to_have_value("price exists")
    expect(order).to_have_value("price")
    assert shown_ids(page) == ["cat:0030.jpg", "bird:0038.jpg", "ship:0008.jpg"]
    page.get_by_label("Show").select_option("cat")
    expect(status).to_have_text("1 to 1 of 1 image")


def a_wrong_filter_shows_where_it_is_wrong(page):
    with_a_field(page)
    page.goto("#gallery")
    status = page.get_by_text(re.compile(r"^\d+ to \d+ of"))
    expect(status).to_have_text("1 to 60 of 400 images")
    box = filter_input(page)
    problem = page.locator("#filter-problem")
    selected = "(() => { const { value, selectionStart: from, selectionEnd: to } = document.activeElement; return value.slice(from, to); })()"
    # A column counts characters, of which 😀 is one.
    for text, message, wrong in (
        ('labels = "😀" OR price = "5" AND id EXISTS', "'price' is a number field", '"5"'),
        ("prize < 5", "did you mean 'price'?", "prize"),
        ("price << 5", "column 7", "<<"),
    ):
        box.fill(text)
        box.press("Enter")
        expect(problem).to_contain_text(message)
        expect(problem.locator("mark")).to_have_text(wrong)
        assert page.evaluate(selected) == wrong
        assert box.get_attribute("aria-invalid") == "true" and "filter-problem" in box.get_attribute("aria-describedby")
    expect(page.get_by_text("Correct the filter to see images.")).to_be_visible()
    wrong = violations(page)
    assert not wrong, wrong
    box.fill("price < ")
    box.press("Enter")
    expect(problem).to_contain_text("found the end")
    box.press("End")
    page.keyboard.type("50")
    box.press("Enter")
    expect(status).to_have_text("1 to 1 of 1 image")
    expect(problem).to_have_text("")
    assert box.get_attribute("aria-invalid") == "false"
    box.fill("")
    box.press("Tab")
    expect(status).to_have_text("1 to 60 of 400 images")
    assert "filter" not in page.url


def a_search_has_a_filter(page, service):
    with_a_field(page)
    page.goto("#search?id=cat:0030.jpg")
    expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
    box = filter_input(page)
    box.click()
    page.keyboard.type("pri")
    suggestions(page).first.click()
    expect(box).to_have_value("price ")
    page.keyboard.type("< 100")
    page.keyboard.press("Enter")
    expect(summary(page)).to_contain_text("The 2 most similar of 2 images")
    expect(found(page)).to_have_count(2)
    command, answer = asked_by_curl(page, "filter=")
    assert answer["total"] == 2, (command, answer)
    shows(page, answer)
    address = page.url
    assert "filter=price+%3C+100" in address, address
    page.get_by_label("Only images with label").fill("bird")
    page.get_by_label("Only images with label").press("Tab")
    expect(summary(page)).to_contain_text("The 1 most similar of 1 image")

    page.goto("/")
    page.goto(address)
    expect(summary(page)).to_contain_text("The 2 most similar of 2 images")
    expect(box).to_have_value("price < 100")
    box.fill("colour = 'red'")
    box.press("Enter")
    expect(page.locator("#filter-problem")).to_contain_text("'colour' is not a declared field")
    expect(page.get_by_role("region", name="Results")).to_have_text("Correct the filter to search.")
    # Another picture is searched with the corrected filter.
    box.fill("labels STARTS WITH 'h'")
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text("The 40 most similar of 40 images")
    expect(page.locator("#filter-problem")).to_have_text("")


def images_that_pass_a_filter_are_changed_and_deleted(page):
    with_a_field(page)
    page.goto("#gallery")
    files = [file_of(path) for path in sorted((SAMPLES / "queries/cat").iterdir())[4:8]]

    def upload(some):
        page.get_by_label("Labels for these files").fill("old, season")
        page.get_by_label("Drop, paste or choose files").set_input_files(some)
        expect(page.get_by_text(re.compile(r"^(\d) of \1 files? stored\."))).to_be_visible()

    upload(files[:3])
    filter_input(page).fill('labels = "season"')
    filter_input(page).press("Tab")
    status = page.get_by_text(re.compile(r"^\d+ to \d+ of"))
    expect(status).to_have_text("1 to 3 of 3 images")
    page.get_by_role("button", name="Change the 3 images that pass…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text('The images pass the filter labels = "season".')
    change = dialog.get_by_role("button", name="Change 3 images")
    dialog.get_by_label("Members of the payload").fill("{price: 5}")
    change.click()
    expect(dialog.get_by_role("alert")).to_contain_text("the payload is not JSON")
    dialog.get_by_label("Members of the payload").fill('{"price": 5}')
    dialog.get_by_label("Labels to add").fill("sale, new")
    dialog.get_by_label("Labels to remove").fill("old")
    wrong = violations(page)
    assert not wrong, wrong
    change.click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_have_text("succeeded · 3 images changed")
    image = page.request.get("/images?filter=price%3D5").json()["images"]
    assert len(image) == 3 and all(sorted(one["labels"]) == ["new", "sale", "season"] for one in image), image
    page.get_by_label("Show").select_option(label="sale (3)")
    expect(status).to_have_text("1 to 3 of 3 images")

    page.get_by_role("button", name="Delete the 3 images that pass…").click()
    expect(dialog).to_contain_text('The images pass the filter labels = "season" and have the label sale. This cannot be undone.')
    # Another image passes before the user confirms.
    answer = page.request.post("/images?label=season&label=sale", data=files[3]["buffer"], headers={"content-type": "image/jpeg"})
    assert answer.ok, answer.text()
    dialog.get_by_role("button", name="Delete 3 images").click()
    expect(dialog.get_by_role("alert")).to_contain_text("4 images pass the filter, not 3")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete the 3 images that pass…").click()
    dialog.get_by_role("button", name="Delete 4 images").click()
    expect(job.get_by_role("status")).to_have_text("succeeded · 4 images deleted")
    expect(page.get_by_text("No images here yet.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("that pass…$"))).to_have_count(0)
    wrong = violations(page)
    assert not wrong, wrong
    page.goto("#models")
    expect(page.get_by_role("region", name="Jobs").get_by_role("row").nth(1)).to_contain_text("4 images deleted")
    assert page.request.get("/images?limit=1").json()["total"] == 400


def suggestions_fit_on_a_phone(page):
    """With touch, at 360 pixels, in both views."""
    with_a_field(page)
    page.set_viewport_size({"width": 360, "height": 640})
    for view in ("search", "gallery"):
        page.goto(f"#{view}")
        expect(page.get_by_role("heading", level=1, name=re.compile(view, re.IGNORECASE))).to_be_visible()
        page.wait_for_load_state("networkidle")
        box = filter_input(page)
        box.scroll_into_view_if_needed()
        box.click()
        expect(suggestions(page)).not_to_have_count(0)
        for move in (0, 80):
            page.mouse.wheel(0, move)
            page.wait_for_timeout(200)
            place, at = page.get_by_role("listbox").bounding_box(), box.bounding_box()
            assert place["x"] >= 0 and place["x"] + place["width"] <= 360, place
            assert place["y"] >= 0 and place["y"] + place["height"] <= 640, place
            assert place["y"] >= at["y"] + at["height"] or place["y"] + place["height"] <= at["y"], (place, at)
        heights = suggestions(page).evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().height)")
        assert min(heights) >= 24, heights
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        wrong = violations(page)
        assert not wrong, (view, wrong)
        suggestions(page).first.click()
        expect(box).to_have_value("price ")


def row(page, state):
    return page.get_by_role("row").filter(has=page.locator("strong", has_text=state))


def a_job_is_started_followed_and_stores_its_model(page):
    page.goto("#models")
    expect(row(page, "active")).to_have_count(1)
    page.get_by_role("button", name="Teach it from the gallery").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Epochs of the policies").fill("0")
    dialog.get_by_label("Epochs of both networks").fill("0")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("alert")).to_contain_text("epochs")
    dialog.get_by_label("Labels").fill("cat, dog")
    dialog.get_by_label("Activate").select_option("manual")
    dialog.get_by_label("Epochs of the policies").fill("2")
    dialog.get_by_label("Epochs of both networks").fill("2")
    dialog.get_by_text("More options").click()
    dialog.get_by_label("Images per step").fill("32")
    dialog.get_by_label("Filter").fill("labels IN [")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("alert")).to_contain_text("column 12")
    dialog.get_by_label("Filter").fill("labels EXISTS")
    dialog.get_by_role("button", name="Start").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text(re.compile("training|measuring|copying|queued"))
    # After leaving the view and coming back, the job is still followed.
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("heading", name="Status")).to_be_visible()
    page.get_by_role("link", name="Models").click()
    expect(job.get_by_role("status")).to_contain_text("succeeded", timeout=TRAINING_TIMEOUT)
    expect(job.get_by_role("status")).to_contain_text(re.compile(r"mean MAP 0\.\d+ → 0\.\d+"))
    for name, least in (("Loss", 2), ("Reward", 2), ("Validation MAP", 3)):
        chart = job.get_by_role("img", name=re.compile(f"^{name}: "))
        label = chart.get_attribute("aria-label")
        assert int(re.search(r"of (\d+) points", label)[1]) >= least, label
        drawn = chart.locator("polyline").evaluate_all("(lines) => lines.map((line) => line.points.length)")
        assert all(points >= 2 for points in drawn), (name, drawn)
    expect(row(page, "stored")).to_have_count(1)


def a_job_can_be_cancelled(page):
    page.goto("#models")
    page.get_by_role("button", name="Teach it from the gallery").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Epochs of both networks").fill("200")
    dialog.get_by_role("button", name="Start").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text(re.compile("training|measuring"), timeout=TRAINING_TIMEOUT)
    job.get_by_role("button", name="Cancel").click()
    expect(job.get_by_role("status")).to_contain_text("cancelled", timeout=TRAINING_TIMEOUT)


def a_failed_job_shows_its_reason(page):
    page.goto("#models")
    page.get_by_role("button", name="Teach it from the gallery").click()
    page.get_by_role("dialog").get_by_label("Labels").fill("no such label")
    page.get_by_role("button", name="Start").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text("failed · no image of the gallery has the label 'no such label'")


def two_models_can_be_compared(page):
    page.goto("#models")
    expect(page.get_by_role("checkbox")).to_have_count(2)
    for box in page.get_by_role("checkbox").all():
        name = box.get_attribute("aria-label")
        page.get_by_label(name).check()
    expect(page.get_by_text("Both were measured on the same")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^MAP, 48 bits"))).to_contain_text(re.compile(r"[▲▼±]"))


def a_model_is_activated_and_the_old_one_again(page):
    page.goto("#models")
    old = row(page, "active").get_by_role("rowheader").inner_text()
    new = row(page, "stored").get_by_role("rowheader").inner_text()
    row(page, "stored").get_by_role("button", name="Activate").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text("succeeded", timeout=TRAINING_TIMEOUT)
    expect(row(page, "active").get_by_role("rowheader")).to_have_text(new)
    expect(row(page, "standby").get_by_role("rowheader")).to_have_text(old)
    row(page, "standby").get_by_role("button", name="Activate").click()
    expect(page.get_by_text(f"Model {old} is active now.")).to_be_visible()
    expect(row(page, "active").get_by_role("rowheader")).to_have_text(old)
    row(page, "standby").get_by_role("button", name="Delete codes").click()
    row(page, "stored").get_by_role("button", name="Delete").click()
    models = page.get_by_role("region", name="Models").get_by_role("row")
    expect(models).to_have_count(2)
    expect(models.last).to_contain_text(old)


def the_model_is_adapted_to_the_gallery(page):
    page.goto("#models")
    old = row(page, "active").get_by_role("rowheader").inner_text()
    page.get_by_role("button", name="Adapt the model to this gallery").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Activate").select_option("manual")
    dialog.get_by_label("Epochs of the policies").fill("2")
    dialog.get_by_role("button", name="Start").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text(re.compile("copying|measuring|computing features|training|queued"))
    expect(job.get_by_role("status")).to_contain_text("succeeded", timeout=TRAINING_TIMEOUT)
    for figure in ("copies found first", "nearest by features found"):
        expect(job.get_by_role("status")).to_contain_text(re.compile(rf"{figure} 0\.\d+ → [01]\.\d+"))
    new = row(page, "stored").get_by_role("rowheader").inner_text()
    assert new in job.get_by_role("status").inner_text()
    expect(row(page, "stored")).to_contain_text(old)
    for name in (old, new):
        page.get_by_label(f"Compare {name}").check()
    expect(page.get_by_text("Both were measured on the same 40 queries.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^copies found first"))).to_contain_text(re.compile(r"[▲▼±]"))
    row(page, "stored").get_by_role("button", name="Activate").click()
    expect(row(page, "active").get_by_role("rowheader")).to_have_text(new, timeout=TRAINING_TIMEOUT)
    page.get_by_role("link", name="Search").click()
    page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
    expect(summary(page)).to_contain_text(re.compile(f"^The 50 most similar of 400 images.*model {new}"))
    page.get_by_label("Relation").select_option("copy")
    expect(summary(page)).to_contain_text(re.compile(r"^\d+ images? with a similarity of at least 0\.\d\d.* model"))


def the_status_shows_rates_and_the_model(page):
    page.goto("#status")
    expect(page.get_by_text(re.compile(r"^\d+\.\d/s$")).first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Codes of 48 bits by how many images share them: .*1 images each"))).to_be_visible()
    expect(page.get_by_text("efficientnet_lite0")).to_be_visible()


def the_page_recovers_from_a_stopped_service(page, service):
    page.goto("#search?id=cat:0030.jpg")
    expect(summary(page)).to_contain_text("most similar of")
    service.stop()
    page.get_by_label("Maximum images").fill("60")
    expect(page.get_by_role("region", name="Results").get_by_role("alert")).to_contain_text("The service does not answer")
    page.get_by_role("link", name="Gallery").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    service.restart()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text(re.compile("1 to 60 of 400 images"))).to_be_visible()


def the_page_asks_for_keys(page):
    """Against a service with keys."""
    page.goto("#search")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("key")
    dialog.get_by_label("Key").fill("a-key-that-is-wrong-altogether")
    dialog.get_by_role("button", name="Use key").click()
    expect(dialog.get_by_role("alert")).to_contain_text("key")
    dialog.get_by_label("Key").fill(KEYS["READ"])
    dialog.get_by_role("button", name="Use key").click()
    expect(page.get_by_role("heading", name="Or start with one of")).to_be_visible()
    # Pictures are fetched with the key, which an address does not carry.
    until(page, "[...document.querySelectorAll('.found img')].length > 3 && [...document.querySelectorAll('.found img')].every((image) => image.naturalWidth > 0)")
    page.get_by_role("link", name="Models").click()
    expect(dialog.get_by_role("alert")).to_contain_text("admin")
    dialog.get_by_label("Key").fill(KEYS["ADMIN"])
    dialog.get_by_role("button", name="Use key").click()
    expect(row(page, "active")).to_have_count(1)
    stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""], stored
    page.reload()
    expect(dialog.get_by_role("alert")).to_contain_text("key")


def a_key_to_write_with_deletes_by_a_filter(page):
    """Against a service with keys. The key may follow the job that it starts, although it may not
    list jobs."""
    page.goto("#gallery")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key").fill(KEYS["WRITE"])
    dialog.get_by_role("button", name="Use key").click()
    expect(page.get_by_text("1 to 60 of 400 images")).to_be_visible()
    filter_input(page).fill('labels IN ["cat", "dog"]')
    filter_input(page).press("Enter")
    page.get_by_role("button", name="Delete the 80 images that pass…").click()
    dialog.get_by_role("button", name="Delete 80 images").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_have_text("succeeded · 80 images deleted")
    expect(dialog).to_have_count(0)
    filter_input(page).fill("")
    filter_input(page).press("Enter")
    expect(page.get_by_text("1 to 60 of 320 images")).to_be_visible()


def the_page_works_by_keyboard_alone(page):
    page.goto("#gallery")
    expect(page.get_by_text("1 to 60 of")).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('main > .grid') !== null"):
            break
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Search with this image":
            break
    page.keyboard.press("Enter")
    expect(summary(page)).to_contain_text("most similar of")
    page.get_by_label("Limit the distance").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(summary(page)).to_contain_text("within 5 bits")


def violations(page):
    """Returns the violations of axe's rules in the page as it is."""
    found = Axe().run(page).response["violations"]
    return [f"{one['impact']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}" for one in found]


def the_page_is_accessible(page):
    """By axe's rules, in both colour schemes and several widths, without scrolling sideways."""
    wrong = []
    for width, scheme in ((1280, "light"), (360, "dark"), (1920, "light")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        for view in [*VIEWS, "gallery?filter=labels%3D%22cat%22", "suggestions", "search?id=cat:0030.jpg&radius=14&limit=100", "part", "dialog", "Teach it from the gallery", "Adapt the model to this gallery"]:
            if view == "part":
                page.get_by_text("Set the part with sliders").click()
                page.get_by_label("Width, %").fill("50")
                expect(page.get_by_label("curl", exact=True)).to_have_value(re.compile("box="))
            elif view == "suggestions":
                filter_input(page).click()
                expect(suggestions(page)).not_to_have_count(0)
            elif view == "dialog":
                found(page).last.get_by_role("button").click()
                expect(page.get_by_role("dialog")).to_be_visible()
            elif view not in VIEWS and "?" not in view:
                page.keyboard.press("Escape")
                page.goto("#models")
                page.get_by_role("button", name=view).click()
                page.get_by_text("More options").click()
            else:
                # The previous view stays for a moment.
                page.evaluate("document.querySelector('h1')?.classList.add('before')")
                page.goto(f"#{view}")
                expect(page.locator("h1:not(.before)")).to_be_visible()
                page.wait_for_load_state("networkidle")
            wrong += [f"{view} at {width}, {scheme}: {violation}" for violation in violations(page)]
            sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if sideways > 0:
                wrong.append(f"{view} at {width} is {sideways} pixels too wide")
        page.keyboard.press("Escape")
    assert not wrong, "\n".join(wrong)


def the_page_is_small_and_loads_nothing_from_elsewhere(page):
    """The page is small and loads nothing from other servers."""
    page.goto("#search")
    page.wait_for_load_state("networkidle")
    entries = page.evaluate(
        """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
            .map((entry) => [entry.name, entry.decodedBodySize, entry.encodedBodySize])"""
    )
    own = page.evaluate("location.origin")
    assert all(url.startswith(own) for url, *_ in entries), entries
    files = [(size, sent) for url, size, sent in entries if "/web/" in url or url.rstrip("/").split("#")[0].rstrip("/") == own]
    weight = sum(size for size, _ in files)
    print(f"      {len(files)} files, {weight / 1000:.0f} kB, {sum(sent for _, sent in files) / 1000:.0f} kB as sent")
    assert len(files) > 20 and weight < 165_000, files
    policy = page.request.get("/", headers={"accept": "text/html"}).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy


def the_page_works_under_a_path_of_a_proxy(page, service):
    """The service is not configured with the path."""
    proxy = Proxy(service)
    try:
        page.goto(proxy.url)
        page.get_by_label("Drop, paste or choose an image").set_input_files(QUERY)
        expect(summary(page)).to_contain_text("The 50 most similar of 400 images")
        until(page, "[...document.querySelectorAll('.found img')].slice(0, 4).every((image) => image.complete && image.naturalWidth > 0)")
        command, answer = asked_by_curl(page)
        assert "/photos/search" in command and answer["matches"], command
        page.goto(f"{proxy.url}/#gallery")
        page.get_by_label("Labels for these files").fill("by proxy")
        page.get_by_label("Drop, paste or choose files").set_input_files([QUERY])
        expect(page.get_by_text("1 of 1 file stored.")).to_be_visible()
        page.get_by_label("Show").select_option(label="by proxy (1)")
        expect(page.get_by_text("1 to 1 of 1 image")).to_be_visible()
        page.locator("main > .grid button").first.click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Really delete?").click()
        expect(page.get_by_text("No images here yet.")).to_be_visible()
        page.goto(f"{proxy.url}/docs")
        expect(page.get_by_text("/search").first).to_be_visible()
    finally:
        proxy.end()


HOSTILE = """async (service) => {
    const routes = [
        ['POST', '/images'], ['POST', '/images/batch'], ['PUT', '/images/theirs'], ['PATCH', '/images/cat:0030.jpg'], ['DELETE', '/images/cat:0030.jpg'],
        ['POST', '/search'], ['POST', '/encode'], ['POST', '/admin/jobs'], ['POST', '/admin/models'], ['POST', '/admin/snapshots'],
        ['DELETE', '/admin/models/0123456789ab'], ['POST', '/admin/models/0123456789ab/activate'],
        ['DELETE', '/images?filter=id%20EXISTS'], ['PATCH', '/images?filter=id%20EXISTS'], ['PUT', '/admin/fields/theirs'], ['DELETE', '/admin/fields/price'],
    ];
    const picture = await (await fetch('picture.jpg')).blob();
    const form = new FormData();
    form.append('image', picture, 'a.jpg');
    const bodies = [[picture], [form], ['{"kind": "find_duplicates"}', 'text/plain'], ['{"kind": "find_duplicates"}', 'application/json']];
    const seen = [];
    for (const [method, path] of routes) {
        for (const [body, type] of bodies) {
            for (const mode of ['no-cors', 'cors']) {
                const headers = type ? { 'content-type': type } : {};
                const answer = await fetch(service + path, { method, mode, body, headers }).catch(() => undefined);
                if (answer && answer.type !== 'opaque') seen.push([method, path, answer.status]);
            }
        }
    }
    for (const path of ['/images', '/info', '/metrics', '/fields', '/admin/jobs']) {
        const answer = await fetch(service + path).catch(() => undefined);
        if (answer) seen.push(['GET', path, answer.status]);
    }
    // Forms, which need no script.
    for (const type of ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded']) {
        const frame = document.createElement('iframe');
        frame.name = type;
        const sent = Object.assign(document.createElement('form'), { action: `${service}/admin/jobs`, method: 'post', enctype: type, target: type });
        sent.append(Object.assign(document.createElement('input'), { name: '{"kind": "find_duplicates", "x": "', value: '"}' }));
        document.body.append(frame, sent);
        const loaded = new Promise((done) => { frame.onload = done; });
        sent.submit();
        await loaded;
    }
    return seen;
}"""


def a_page_of_another_site_can_do_nothing(page, service):
    """A page of another site, in a browser that has this service open, tries every route in every
    way that needs no consent."""

    def has():
        get = lambda path: page.request.get(service.url + path).json()
        jobs, models, snapshots, fields = (get(f"/admin/{name}")[name] for name in ("jobs", "models", "snapshots", "fields"))
        cat = get("/images/cat:0030.jpg")
        return get("/images?limit=1")["total"], cat, [job["id"] for job in jobs], [model["id"] for model in models], snapshots, fields

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(QUERY.read_bytes() if self.path.endswith(".jpg") else b"<!doctype html><body></body>")

        def log_message(self, *_):
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    Thread(target=site.serve_forever, daemon=True).start()
    before = has()
    # A separate context, because its console is full of refusals.
    context = page.context.browser.new_context()
    try:
        for host in ("localhost", "127.0.0.1"):
            hostile = context.new_page()
            hostile.goto(f"http://{host}:{site.server_port}/")
            seen = hostile.evaluate(HOSTILE, service.url)
            assert not seen, f"the hostile page can read {seen}"
            framed = "(url) => new Promise((done) => { const frame = document.createElement('iframe'); frame.src = url; frame.onload = () => { try { done(frame.contentDocument?.body.textContent ?? null); } catch { done(null); } }; document.body.append(frame); })"
            assert not hostile.evaluate(framed, service.url + "/")
        assert has() == before
    finally:
        context.close()
        site.shutdown()


# Each scenario, and whether the service refuses something in it, which the browser's console
# reports.
SCENARIOS = [
    (search_by_file, False),
    (search_by_drop, False),
    (search_by_paste, False),
    (search_options_change_the_results, False),
    (results_are_ordered_by_similarity, False),
    (results_can_be_limited_to_copies_or_kin, False),
    (an_empty_result_offers_a_wider_search, False),
    (show_more_extends_the_results, False),
    (a_match_shows_which_bits_differ, False),
    (a_search_can_be_shared_as_link_and_curl, False),
    (search_by_a_part_of_the_picture, False),
    (search_by_a_part_of_a_stored_picture, False),
    (a_file_that_is_no_image_is_refused, True),
    (the_gallery_has_pages_and_a_label_filter, False),
    (a_bad_file_does_not_stop_an_upload, True),
    (labels_are_changed_and_images_deleted, False),
    (copies_are_found_and_deleted, True),
    (fields_are_declared_and_deleted, True),
    (the_gallery_has_a_filter_and_an_order, False),
    (a_wrong_filter_shows_where_it_is_wrong, True),
    (a_search_has_a_filter, True),
    (images_that_pass_a_filter_are_changed_and_deleted, True),
    (suggestions_fit_on_a_phone, False),
    (the_page_works_by_keyboard_alone, False),
    (the_status_shows_rates_and_the_model, False),
    (the_page_is_small_and_loads_nothing_from_elsewhere, False),
    (a_job_is_started_followed_and_stores_its_model, True),
    (a_failed_job_shows_its_reason, False),
    (two_models_can_be_compared, False),
    (a_model_is_activated_and_the_old_one_again, False),
    (the_model_is_adapted_to_the_gallery, False),
    (a_job_can_be_cancelled, False),
    (the_page_is_accessible, False),
    (the_page_works_under_a_path_of_a_proxy, False),
    (a_page_of_another_site_can_do_nothing, False),
    (the_page_recovers_from_a_stopped_service, True),
    (the_page_asks_for_keys, True),
    (a_key_to_write_with_deletes_by_a_filter, True),
    (a_model_without_sketches_shows_rings_by_distance, False),
    (a_model_without_thresholds_finds_no_duplicates, True),
]


def run(chromium, service, scenario, refusals):
    """Runs a scenario in a new browser profile; returns whether it passed."""
    context = chromium.new_context(base_url=service.url + "/", permissions=["clipboard-read", "clipboard-write"])
    console = Console(context)
    page = context.new_page()
    page.goto("/")
    started = time.monotonic()
    try:
        scenario(page, service) if scenario.__code__.co_argcount == 2 else scenario(page)
        console.check(refusals)
        print(f"ok    {scenario.__name__.replace('_', ' ')}, {time.monotonic() - started:.1f} s", flush=True)
        return True
    except Exception:  # pylint: disable=broad-except
        page.screenshot(path=service.folder.parent / f"failed-{scenario.__name__}.png")
        print(f"FAIL  {scenario.__name__.replace('_', ' ')}\n{traceback.format_exc(limit=-1)}console: {console.complaints}", flush=True)
        return False
    finally:
        context.close()


def main():
    program, *only = sys.argv[1:]
    wanted = [one for one in SCENARIOS if not only or one[0].__name__ in only]
    # Scenarios that need their own service.
    plain = ("without sketches", os.environ.get("MODEL_WITHOUT_SKETCHES"), None)
    keys = ("keys", MODEL, KEYS)
    kinds = {the_page_asks_for_keys: keys, a_key_to_write_with_deletes_by_a_filter: keys, a_model_without_sketches_shows_rings_by_distance: plain, a_model_without_thresholds_finds_no_duplicates: plain}
    services = {}
    good = []
    try:
        with browser() as chromium:
            for scenario, refusals in wanted:
                kind, of, with_keys = kinds.get(scenario, ("open", MODEL, None))
                if not of:
                    print(f"skipped: {scenario.__name__.replace('_', ' ')}; no model is given for it", flush=True)
                    continue
                if kind not in services:
                    services[kind] = Service(program, of, with_keys)
                    services[kind].store(SAMPLES / "gallery")
                good.append(run(chromium, services[kind], scenario, refusals))
    finally:
        for service in services.values():
            service.end()
    print(f"{sum(good)} of {len(good)} scenarios passed")
    return not all(good)


if __name__ == "__main__":
    sys.exit(main())

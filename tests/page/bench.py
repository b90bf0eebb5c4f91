"""Measures the page in a browser, as medians of several rounds: the first paint, the gallery's
pictures, and a search.

bench.py PROGRAM [--screenshots FOLDER]: with --screenshots, makes the README's pictures instead.
"""

import base64
import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import expect

from browser import ROOT, SAMPLES, Service, browser, until

ROUNDS = 11
SHOWN = "[...document.querySelectorAll('.found img')].slice(0, 12).every((image) => image.complete && image.naturalWidth > 0) && document.querySelectorAll('.found img').length > 0"
PAINT = "performance.getEntriesByType('paint').find((entry) => entry.name === 'first-contentful-paint')?.startTime"
# Milliseconds from the drop of a file to the decoded pictures of its result, in the page's own
# time.
SEARCH = """async ([name, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: 'image/jpeg' }));
    document.querySelector('.found').replaceChildren();
    const began = performance.now();
    document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    for (;;) {
        await new Promise(requestAnimationFrame);
        const images = [...document.querySelectorAll('.found img')].slice(0, 12);
        if (images.length && images.every((image) => image.complete && image.naturalWidth > 0)) return performance.now() - began;
    }
}"""


def measure(chromium, service):
    paints, useful, searches = [], [], []
    queries = sorted((SAMPLES / "queries").glob("*/*.jpg"))[::18][:ROUNDS]
    for query in queries:
        # A new profile with an empty cache.
        context = chromium.new_context(base_url=service.url, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        # A radius at which every query has matches.
        page.goto("/#search?radius=24")
        until(page, SHOWN)
        useful.append(page.evaluate("performance.now()"))
        paints.append(page.evaluate(PAINT))
        searches.append(page.evaluate(SEARCH, [query.name, base64.b64encode(query.read_bytes()).decode()]))
        context.close()
    return {"first contentful paint": paints, "gallery's pictures seen, from the address": useful, "a search, from the drop to its first 12 pictures": searches}


def screenshots(chromium, service, folder):
    def taken(name, scheme="light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=85)

    context = chromium.new_context(base_url=service.url, viewport={"width": 1200, "height": 720})
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Drop, paste or choose an image").set_input_files(sorted((SAMPLES / "queries/horse").iterdir())[0])
    expect(page.get_by_role("heading", name="By similarity")).to_be_attached()
    until(page, SHOWN)
    taken("page-search")
    matches = page.locator(".found li")
    # The first match with another code.
    matches.filter(has_not_text=matches.first.locator("code").inner_text()).first.get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    taken("page-record", "dark")
    page.keyboard.press("Escape")
    page.goto("/#models")
    page.get_by_role("button", name="Teach it from the gallery").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Activate").select_option("manual")
    dialog.get_by_text("More options").click()
    dialog.get_by_label("Images per step").fill("32")
    dialog.get_by_role("button", name="Start").click()
    job = page.get_by_role("region", name="The job that is followed")
    expect(job.get_by_role("status")).to_contain_text("succeeded", timeout=600_000)
    job.scroll_into_view_if_needed()
    taken("page-models")
    context.close()


def main():
    program, *rest = sys.argv[1:]
    service = Service(program, ROOT / "models/cifar10.safetensors")
    try:
        service.store(SAMPLES / "gallery")
        with browser() as chromium:
            if rest:
                screenshots(chromium, service, Path(rest[1]))
                return
            began = time.monotonic()
            for what, values in measure(chromium, service).items():
                print(f"{what}: {statistics.median(values):.0f} ms (of {len(values)}: {min(values):.0f} to {max(values):.0f})")
            print(f"measured in {time.monotonic() - began:.0f} s")
    finally:
        service.end()


if __name__ == "__main__":
    main()

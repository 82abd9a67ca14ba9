"""The page in a real browser: Chromium, driven over WebDriver, shows the numbers of the published file."""

import base64
import http.client
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from serving import running

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and its driver (apt-get install chromium chromium-driver)"
)


class Browser:
    """As much of W3C WebDriver as the tests need."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,1000",
            "--disable-dev-shm-usage",
        ]
        options = {"args": arguments, "binary": BROWSER}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self._session = ""
        self._session = f"/session/{self.command('POST', '/session', {'capabilities': capabilities})['sessionId']}"

    def command(self, method, path, body=None):
        self._connection.request(method, self._session + path, None if body is None else json.dumps(body))
        answer = self._connection.getresponse()
        value = json.loads(answer.read())["value"]
        assert answer.status == 200, value
        return value

    def go(self, address):
        self.command("POST", "/url", {"url": "about:blank"})
        self.command("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def type(self, selector, keys):
        found = self.command("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.command("POST", f"/element/{found}/value", {"text": keys})

    def click(self, selector):
        found = self.command("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.command("POST", f"/element/{found}/click", {})

    def wait(self, script, seconds=20):
        end = time.monotonic() + seconds
        while not (found := self.run(f"return {script}")):
            assert time.monotonic() < end, (script, self.shown(), self.run("return document.body.innerText"))
            time.sleep(0.05)
        return found

    def shown(self):
        """What the page says: the point, the number, its error, the guard."""
        data = self.run("return {...document.getElementById('value').dataset}")
        words = self.run("return ['value', 'error', 'guard', 'why'].map(id => document.getElementById(id).textContent)")
        return {name: json.loads(value) for name, value in data.items()}, dict(
            zip(("value", "error", "guard", "why"), words, strict=True)
        )

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.command("GET", "/screenshot")))

    def complaints(self):
        """Errors on the console: a script that failed, or something the policy refused."""
        log = self.command("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    driver = subprocess.Popen(
        [DRIVER, "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home)},
    )
    try:
        line = ""
        while "started successfully on port" not in line:
            line = driver.stdout.readline()
            assert line, "chromedriver ended"
        opened = Browser(int(line.strip(" .\n").rpartition(" ")[2]))
        yield opened
        opened.command("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(10)


@pytest.fixture(scope="module")
def page(browser, client):
    return browser, f"http://127.0.0.1:{client.port}/"


def at(theta, name, along=""):
    return f"#model={name}&along={along}&theta={','.join(repr(float(x)) for x in theta)}"


def keep(browser, name):
    """A screenshot for whoever wants to look: in the folder that DNNLIKELIHOOD_SCREENSHOTS names."""
    if folder := os.environ.get("DNNLIKELIHOOD_SCREENSHOTS"):
        browser.picture(Path(folder) / f"{name}.png")


def test_the_number_is_that_of_the_reference(page, models):
    browser, address = page
    pairs = models[1].likelihood.reference()
    for i in (0, 100, 255):
        browser.go(address + at(pairs["theta"][i], "toy_lhc", "mu"))
        browser.wait("document.getElementById('value').dataset.theta")
        data, words = browser.shown()
        assert data["theta"] == pairs["theta"][i].tolist()
        assert data["logpdf"] == pytest.approx(pairs["logpdf"][i], abs=1e-5, rel=0)
        assert data["error"] == pytest.approx(pairs["error"][i], rel=1e-4)
        assert data["inDomain"] == pairs["in_domain"][i]
        assert words["value"] == f"logpdf = {data['logpdf']:.4f}".replace("-", "−")
        assert words["guard"] == "✓ in the training domain"
    keep(browser, "page")
    assert browser.complaints() == []
    assert browser.run("return document.querySelectorAll('#sliders li').length") == 95
    assert browser.run("return document.querySelector('#sliders label').textContent") == "μ"


def test_a_slider_moves_the_number(page, models):
    browser, address = page
    browser.go(address + at([0.5, -1.0, 0.2], "gaussian-3", "x1"))
    browser.wait("document.getElementById('value').dataset.theta")
    before, _ = browser.shown()
    browser.type("#p1", "\ue014" * 5)
    browser.wait(
        f"document.getElementById('value').dataset.theta !== '{json.dumps(before['theta'], separators=(',', ':'))}'"
    )
    time.sleep(0.5)
    after, _ = browser.shown()
    assert after["theta"][1] > before["theta"][1]
    assert after["theta"][::2] == before["theta"][::2]
    expected = models[0].likelihood.answers([after["theta"]])
    assert after["logpdf"] == pytest.approx(expected["logpdf"][0], abs=1e-12)
    assert after["error"] == pytest.approx(expected["error"][0], abs=1e-12)


def test_the_guard_is_seen(page):
    browser, address = page
    for theta, reason in (([2.9, 30.0, 0.0], "is outside what was learned"), ([2.9, -5.5, 3.0], "combination")):
        browser.go(address + at(theta, "gaussian-3"))
        browser.wait("document.getElementById('value').dataset.theta")
        data, words = browser.shown()
        assert (data["inDomain"], "logpdf" in data) == (False, False)
        assert words["value"] == "no answer"
        assert words["guard"] == "✕ outside the training domain"
        assert reason in words["why"]
    keep(browser, "outside")
    browser.go(address + at([-2.5, -1.0, 0.2], "gaussian-3"))
    browser.wait("document.getElementById('value').dataset.theta")
    assert "range of its prior" in browser.shown()[1]["why"]


def test_the_slice_and_the_profile(page, models):
    """The curves on the screen, read back from the drawing and from the table beneath it."""
    browser, address = page
    browser.go(address + at([0.5, -2.0, 0.2], "gaussian-3", "x1"))
    browser.wait("document.querySelector('#plot .slice')")
    browser.click("#profile")
    browser.wait("document.querySelector('#plot .profile')")
    keep(browser, "profile")
    browser.click("summary")
    browser.wait("document.querySelectorAll('#table table').length === 2")
    read = "return [...document.querySelectorAll(arguments[0])].map(r => [...r.cells].map(c => c.textContent))"
    rows = [r for r in browser.run(read, "#table table:first-child tr") if r[1] != "–"][1:]
    x, y = np.array([[float(c.replace("−", "-")) for c in r[:2]] for r in rows]).T
    theta = np.column_stack([np.full_like(x, 0.5), x, np.full_like(x, 0.2)])
    np.testing.assert_allclose(y, models[0].likelihood.answers(theta)["logpdf"], atol=2e-3, rtol=1e-3)
    fits = browser.run(read, "#table table:last-child tr")[1:]
    assert len(fits) == 33
    assert {r[2] for r in fits} == {"converged"}
    browser.click("#maximum")
    browser.wait("Math.abs(JSON.parse(document.getElementById('value').dataset.theta)[1] + 1) < 0.2")
    assert browser.shown()[0]["logpdf"] == pytest.approx(0, abs=0.05)
    assert browser.complaints() == []


def test_a_token_opens_the_page(browser, models):
    with running(models, token="correct-horse-battery-staple") as client:
        browser.go(f"http://127.0.0.1:{client.port}/")
        browser.wait("!document.getElementById('door').hidden")
        assert browser.run("return document.getElementById('answer').hidden")
        browser.type("#token", "correct-horse-battery-stapler\n")
        browser.wait("document.getElementById('message').textContent.includes('not the right one')")
        keep(browser, "token")
        browser.run("document.getElementById('token').value = ''")
        browser.type("#token", "correct-horse-battery-staple\n")
        browser.wait("document.getElementById('value').dataset.theta")
        assert browser.run("return document.getElementById('door').hidden")


def test_the_page_is_labelled(page):
    """Every control has a name, headings come in order, and the picture says in words what it shows."""
    browser, address = page
    browser.go(address)
    browser.wait("document.getElementById('value').dataset.theta")
    nameless = browser.run(
        "return [...document.querySelectorAll('input, select, button')].filter(e => e.checkVisibility() && "
        "!e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert browser.run("return document.documentElement.lang") == "en"
    assert "logpdf along" in browser.run("return document.querySelector('#plot title').textContent")
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.command("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": dark})
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 22, 24)"
    keep(browser, "dark")
    browser.command("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": []}})
    for width in (1280, 390):
        browser.command("POST", "/window/rect", {"width": width, "height": 1000})
        time.sleep(0.3)
        keep(browser, f"width_{width}")
        spill = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert spill <= 0, f"{width} wide: the page scrolls sideways"
    browser.command("POST", "/window/rect", {"width": 1280, "height": 1000})

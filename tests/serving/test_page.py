"""The page in a real browser: a recording, the microphone, words, downloads, and nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from deepspeech.inference.recognizer import Recognizer

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("server")]
CHROMIUM = shutil.which("chromium")


@contextmanager
def opened(server, microphone=None, permissions=("microphone",), model="whole", **options):
    """The page in Debian's chromium, whose microphone plays a file; no fault and no other host at the end."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    arguments = ["--no-sandbox", "--headless=new", "--use-fake-device-for-media-stream"]
    if microphone:
        arguments += [
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=False, args=arguments)
        context = browser.new_context(permissions=list(permissions) if microphone else [], **options)
        page = context.new_page()
        faults, requests = [], []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: (
                faults.append(message.text) if message.type == "error" and "400" not in message.text else None
            ),
        )
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"http://{server.address}/")
        playwright.expect(page.locator("#model option")).to_have_count(2)
        page.select_option("#model", model)
        yield page
        assert not faults
        assert all(re.match(rf"(http://{server.address}/|blob:|data:)", url) for url in requests), requests
        browser.close()


def shown_text(page):
    return " ".join(page.locator("#words").inner_text().split())


def test_a_recording_gives_its_words_and_downloads(server, models, recordings, tmp_path):
    expected = " ".join(Recognizer.load(models["whole"]).transcribe(recordings[4]).text.split())
    with opened(server) as page:
        page.set_input_files("#file", recordings[4])
        page.wait_for_selector("#words button")
        assert shown_text(page) == expected
        playwright.expect(page.locator("#waveform canvas").first).to_be_visible()
        saved = {}
        for form in ("txt", "srt", "vtt", "json"):
            with page.expect_download() as download:
                page.click(f"button[data-format={form}]")
            assert download.value.suggested_filename == f"transcript.{form}"
            download.value.save_as(tmp_path / form)
            saved[form] = (tmp_path / form).read_text(encoding="utf-8")
        assert saved["txt"] == expected + "\n"
        blocks = saved["vtt"].strip().split("\n\n")
        assert blocks[0] == "WEBVTT"
        clock = r"\d\d:\d\d:\d\d\.\d{3}"
        assert all(re.match(rf"{clock} --> {clock}\n\S", block) for block in blocks[1:])
        assert " ".join(block.partition("\n")[2] for block in blocks[1:]) == expected


def test_a_click_on_a_word_plays_it(server, recordings):
    with opened(server) as page:
        page.set_input_files("#file", recordings[4])
        page.wait_for_selector("#words button")
        word = page.locator("#words button").first
        start, end = map(float, re.findall(r"[\d.]+(?= to| s)", word.get_attribute("title")))
        page.evaluate(
            """() => { const play = HTMLMediaElement.prototype.play;
            HTMLMediaElement.prototype.play = function () {
                window.sound = this;
                return play.call(this);
            }; }"""
        )
        word.click()
        page.wait_for_selector("#words button.now")
        page.wait_for_function("() => window.sound?.paused && window.sound.currentTime > 0")
        playwright.expect(page.locator("#play")).to_have_text("Play")  # it stops by itself
        stopped = page.evaluate("() => window.sound.currentTime")
        assert start < end <= stopped < end + 0.5


def test_a_dropped_file_is_transcribed(server, recordings):
    with opened(server) as page:
        data = list(recordings[1].read_bytes())
        transfer = page.evaluate_handle(
            """data => { const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(data)], 'dropped.wav')); return transfer; }""",
            data,
        )
        page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        assert page.locator("#drop").is_visible()
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        page.wait_for_selector("#words button")
        assert not page.locator("#drop").is_visible()


def test_a_recording_may_come_before_the_list_of_models(server, recordings):
    with opened(server) as page:
        held = []

        def hold(route):  # playwright takes no builtin
            held.append(route)

        page.route("**/v1/models", hold)
        page.reload()
        page.set_input_files("#file", recordings[4])
        playwright.expect(page.locator("#status")).to_contain_text("Sending")
        held[0].continue_()
        page.wait_for_selector("#words button")


@pytest.mark.parametrize("model", ["live", "whole"])
def test_the_microphone_is_transcribed(server, recordings, tmp_path, model):
    waveform, rate = soundfile.read(recordings[4])
    spoken = tmp_path / "spoken.wav"
    soundfile.write(spoken, np.tile(waveform, 3), rate, subtype="PCM_16")
    with opened(server, spoken, model=model) as page:
        page.click("#speak")
        page.wait_for_selector("#speak[aria-pressed=true]")
        if model == "live":
            playwright.expect(page.locator("#live")).to_have_text(re.compile(r"\w"), timeout=20_000)
        page.wait_for_timeout(2500)
        page.click("#speak")
        page.wait_for_selector("#words button")
        assert shown_text(page)
        assert page.locator("#level").is_hidden()


def test_a_refused_microphone_is_explained_in_a_sentence(server):
    with opened(server) as page:
        page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
            () => Promise.reject(new DOMException('no', 'NotAllowedError')); }"""
        )
        page.click("#speak")
        playwright.expect(page.locator("#problem")).not_to_be_empty()
        assert "allow it" in page.inner_text("#problem")


def test_a_file_that_is_no_audio_is_explained_in_a_sentence(server, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with opened(server) as page:
        page.set_input_files("#file", tmp_path / "a.wav")
        playwright.expect(page.locator("#problem")).not_to_be_empty()
        assert "cannot be read" in page.inner_text("#problem")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The script of axe-core, which finds what a screen reader or weak eyes would stumble over."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    fetched = npm and subprocess.run([npm, "pack", "--silent", "axe-core"], cwd=folder, capture_output=True)
    if not npm or fetched.returncode:
        pytest.skip("npm cannot fetch axe-core here")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(server, recordings, axe, scheme):
    with opened(server, color_scheme=scheme, bypass_csp=True) as page:
        page.set_input_files("#file", recordings[4])
        page.wait_for_selector("#words button")
        page.evaluate(axe)
        violations = page.evaluate("axe.run()")["violations"]
        assert not [each["id"] for each in violations if each["impact"] in ("serious", "critical")]


def test_the_page_fits_a_phone_and_works_by_keyboard(server, recordings):
    with opened(server, viewport={"width": 360, "height": 700}) as page:
        page.set_input_files("#file", recordings[4])
        page.wait_for_selector("#words button")
        page.locator("#words button").last.evaluate("word => { word.textContent = 'W'.repeat(60); }")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#words button").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#words button.now")

"""What MediaRecorder of a real browser records goes to the service as it is."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

RECORD = """async (mimeType) => {
  if (!MediaRecorder.isTypeSupported(mimeType)) return null;
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream, { mimeType });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start(100); // in pieces, as pages do that send them on
  await new Promise((resolve) => setTimeout(resolve, 2000));
  recorder.stop();
  await stopped;
  for (const track of stream.getTracks()) track.stop();
  const body = new Blob(parts, { type: mimeType });
  const reply = await fetch("v1/transcode?format=wav", { method: "POST", body });
  if (!reply.ok) return { problem: await reply.text() };
  const context = new OfflineAudioContext(1, 24000, 24000);
  const heard = await context.decodeAudioData(await reply.arrayBuffer());
  const samples = heard.getChannelData(0);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return { seconds: heard.duration, peak };
}"""


@pytest.mark.parametrize(
    "mime_type", ["audio/webm;codecs=opus", "audio/webm;codecs=pcm", "audio/mp4;codecs=opus"]
)
def test_a_recording_of_the_microphone_is_coded(page: "Page", mime_type: str) -> None:
    found = page.evaluate(RECORD, mime_type)
    assert found is not None, f"this browser does not record {mime_type}"
    assert "problem" not in found, found
    assert 1 < found["seconds"] < 6
    assert found["peak"] > 0.01

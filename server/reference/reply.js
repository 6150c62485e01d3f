// A reply as the page shows it: status, headers, and a body that is read, heard or kept.

import { element, folded, table } from "./elements.js";

const SHOWN_CHARS = 20_000;

/** Show a reply in `place` as it arrives; `signal` ends it. */
export async function showReply(place, reply, startMs, signal) {
  const media = (reply.headers.get("Content-Type") ?? "").split(";")[0];
  const size = element("span", {}, "");
  const status = element("p", { class: reply.ok ? "good" : "bad" }, `${reply.status} ${reply.statusText} `, size);
  const heads = folded("Headers", table(["name", "value"], [...reply.headers]));
  const body = element("div");
  place.replaceChildren(status, body, heads);
  const isText = /json|^text\//.test(media);
  const shown = isText ? element("pre", { tabindex: "0" }) : null;
  if (shown) body.append(shown);
  const parts = [];
  let bytes = 0;
  for await (const part of partsOf(reply, signal)) {
    parts.push(part);
    bytes += part.length;
    size.textContent = `${bytes} bytes so far`;
    if (media === "text/event-stream") shown.textContent = shortened(await new Blob(parts).text());
  }
  const seconds = (performance.now() - startMs) / 1000;
  const whole = new Blob(parts, { type: media });
  if (shown) shown.textContent = shortened(pretty(await whole.text(), media));
  if (bytes) body.append(...kept(whole, media, nameOf(reply, media)));
  size.textContent = `${bytes} bytes in ${seconds.toFixed(2)} s`;
}

async function* partsOf(reply, signal) {
  const reader = reply.body?.getReader();
  if (!reader) return;
  signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function kept(blob, media, name) {
  const url = URL.createObjectURL(blob);
  const isHeard = ["audio/wav", "audio/flac", "audio/ogg"].includes(media);
  const player = isHeard ? element("audio", { controls: true, src: url }) : null;
  const link = element("p", {}, element("a", { href: url, download: name }, `Save ${name}`));
  return [player, link].filter(Boolean);
}

function nameOf(reply, media) {
  const named = /filename="([\w.-]+)"/.exec(reply.headers.get("Content-Disposition") ?? "");
  return named?.[1] ?? `reply.${media.split("/").at(-1).replace("vnd.grove.", "").replace(/^x-|\+.*$/g, "") || "bin"}`;
}

function pretty(text, media) {
  if (!media.includes("json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function shortened(text) {
  return text.length <= SHOWN_CHARS ? text : `${text.slice(0, SHOWN_CHARS)}\n… ${text.length - SHOWN_CHARS} more characters`;
}

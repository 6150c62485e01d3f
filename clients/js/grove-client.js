// A client of the Grove service for browsers and Node.js; no dependencies. Streams: grove-stream.js.

import { GroveError, GroveStream } from "./grove-stream.js";

export { GroveError, GroveStream, framesOf } from "./grove-stream.js";

// Refused for now: too many requests, or nobody behind the proxy who could answer.
const PASSING = new Set([429, 502, 503, 504]);
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 20_000;
const EVENTS_PAUSE_MS = 500;
const ENDED = new Set(["done", "failed", "cancelled"]);

/** The service: whole files, jobs and models by REST, streams by WebSocket. */
export class Grove {
  /** `attempts`: how often a call of REST is made that fails for now. */
  constructor(url = globalThis.location?.origin ?? "http://127.0.0.1:8000", key = null, { attempts = 4 } = {}) {
    this.url = url.replace(/\/$/, "");
    this.key = key;
    this.attempts = attempts;
    this.jobs = new Jobs(this);
  }

  /** Return the tokens of a file of audio as a Uint8Array: `grv`, `json` or `npy`. */
  encode(audio, options = {}) {
    return this.#convert("encode", audio, { format: "grv", ...options });
  }

  /** Return the audio of a file of tokens as a Uint8Array: `wav`, `flac`, `ogg`, `raw` or `l16`. */
  decode(tokens, options = {}) {
    return this.#convert("decode", tokens, { format: "wav", ...options });
  }

  /** Return what the codec makes of a file of audio. */
  transcode(audio, options = {}) {
    return this.#convert("transcode", audio, { format: "wav", ...options });
  }

  /** Return the bundles that the service has. */
  async models() {
    return (await this.call("GET", "models", {}, jsonOf)).models;
  }

  /** Return { token, seconds }: what a page may use in place of the key, for a short time. */
  token() {
    return this.call("POST", "tokens", {}, jsonOf);
  }

  /** Open a session; `settings` are the query parameters of /v1/stream. */
  async stream(settings = {}) {
    const stream = new GroveStream(this.url, this.key, settings);
    await stream.opened;
    return stream;
  }

  /** Make a call until it works, and return what `read` makes of the reply. */
  async call(method, path, { query = {}, headers = {}, body, isRepeatable = true }, read) {
    const auth = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    const search = new URLSearchParams(query).toString();
    const url = `${this.url}/v1/${path}${search && "?"}${search}`;
    const request = { method, body, headers: { ...auth, ...headers } };
    for (let failed = 1; ; failed += 1) {
      try {
        const reply = await fetch(url, request);
        if (!reply.ok) throw await problemOf(reply);
        return await read(reply);
      } catch (error) {
        const waitMs = this.waitMs(error, failed, isRepeatable);
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  /** Return how long to wait after so many failures, or throw what waiting does not help. */
  waitMs(error, failed, isRepeatable = true) {
    const isOurs = error instanceof GroveError;
    const failure = isOurs ? error : new GroveError("unreachable", String(error.cause ?? error.message));
    const mayPass = isOurs ? PASSING.has(error.status) : isRepeatable;
    const askedMs = 1000 * (failure.retryAfterSeconds ?? 0);
    if (!mayPass || failed >= this.attempts || askedMs > LONGEST_WAIT_MS) throw failure;
    // Drawn by chance, so that clients that were refused together do not come back together.
    return askedMs + Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failed - 1));
  }

  #convert(route, body, query) {
    return this.call("POST", route, { body, query }, bytesOfReply);
  }
}

/** Long files, worked on in the background: `grove.jobs`. */
class Jobs {
  #grove;

  constructor(grove) {
    this.#grove = grove;
  }

  /** Hand a file over; a call that is repeated with its key starts one job. */
  start(operation, body, options = {}, key = randomKey()) {
    const headers = { "Idempotency-Key": key };
    return this.#grove.call("POST", "jobs", { query: { operation, ...options }, headers, body }, jsonOf);
  }

  get(id) {
    return this.#grove.call("GET", `jobs/${encodeURIComponent(id)}`, {}, jsonOf);
  }

  list() {
    return this.#grove.call("GET", "jobs", {}, jsonOf);
  }

  /** Yield the job whenever it changes, until it has ended. */
  async *events(id) {
    for (let told = ""; ; ) {
      const job = await this.get(id);
      const text = JSON.stringify(job);
      if (text !== told) yield job;
      if (ENDED.has(job.state)) return;
      told = text;
      await new Promise((resolve) => setTimeout(resolve, EVENTS_PAUSE_MS));
    }
  }

  /** Return the job once it is done; throw why it failed. */
  async wait(id) {
    let last;
    for await (last of this.events(id));
    if (last.state === "done") return last;
    throw new GroveError(last.error_code ?? last.state, last.error ?? `the job is ${last.state}`);
  }

  /** Return what a job that is done has made, as a Uint8Array. */
  result(id) {
    return this.#grove.call("GET", `jobs/${encodeURIComponent(id)}/result`, {}, bytesOfReply);
  }

  /** Cancel a job that runs, or drop one that has ended. */
  delete(id) {
    // Not repeated: the first one cancels, the second one would drop.
    return this.#grove.call("DELETE", `jobs/${encodeURIComponent(id)}`, { isRepeatable: false }, jsonOf);
  }
}

async function bytesOfReply(reply) {
  return new Uint8Array(await reply.arrayBuffer());
}

function jsonOf(reply) {
  return reply.json();
}

// crypto.randomUUID is for https and localhost only.
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function problemOf(reply) {
  const retryAfter = reply.headers.get("Retry-After");
  const said = await reply.json().catch(() => ({}));
  return new GroveError(
    said.code ?? "http",
    said.detail ?? `status ${reply.status}`,
    said.hint,
    retryAfter === null ? undefined : Number(retryAfter) || undefined,
    reply.status,
  );
}

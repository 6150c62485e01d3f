// One live session of the Grove service, for browsers and Node.js; no dependencies.
// Node.js 22 and later has WebSocket; Node.js 20 needs --experimental-websocket.

const TOKENS_BIT = 0x80;
const SAMPLE_BYTES = { pcm_s16le: 2, pcm_f32le: 4, mulaw: 1, alaw: 1 };
const KEPT_BYTES = 8 << 20;
const UNSENT_BYTES = 1 << 20;
const RETRY_MS = 250;
// The line went, but nobody said that the session is over.
const RESUMABLE = new Set([1001, 1005, 1006, 1011, 1012]);

/** What the service refused or broke off; `code` is one of PROTOCOL.md's. */
export class GroveError extends Error {
  constructor(code, message, hint, retryAfterSeconds, status) {
    super(`${code}: ${message}${hint ? ` (${hint})` : ""}`);
    this.name = "GroveError";
    this.code = code;
    this.hint = hint;
    this.retryAfterSeconds = retryAfterSeconds;
    this.status = status;
  }
}

/** One session: send, and read with `for await`. A dropped line is resumed. */
export class GroveStream {
  #url;
  #subprotocols;
  #settings;
  #socket = null;
  #isUp = false;
  #sequence = 0;
  #received = 0;
  #outputs = 0;
  #kept = [];
  #keptBytes = 0;
  #droppedBefore = 0;
  #output = [];
  #wake = () => {};
  #fault = null;
  #lostAtMs = null;
  #opening;

  constructor(url, key, settings) {
    this.#url = `${url.replace(/^http/, "ws")}/v1/stream?`;
    // A browser cannot set headers: the key travels as a subprotocol, which is not echoed.
    this.#subprotocols = ["grove.v1", ...(key ? [`grove.key.${key}`] : [])];
    this.#settings = settings;
    this.session = null; // session.created, once open
    this.summary = null; // session.closed, once everything was read
    this.opened = new Promise((resolve, reject) => (this.#opening = { resolve, reject }));
    this.opened.catch(() => {});
    this.#connect();
  }

  /** Send samples (an ArrayBuffer or a view of one) in the session's encoding. */
  async send(chunk) {
    const bytes = bytesOf(chunk);
    const most = this.session.limits.message_bytes - 2;
    for (let cut = 0; cut < bytes.length; cut += most) {
      this.#put(this.#packet([0], bytes.subarray(cut, cut + most)));
      await this.#room();
    }
  }

  /** Send a packet of tokens, as an encoding session gave it. */
  async sendTokens(packet) {
    const { levels, count } = packet;
    const counted = count < 0x80 ? [count] : [0x80 | (count & 0x7f), count >> 7];
    const packed = packBits(framesOf(packet).flat(), widthsOf(this.session.model, levels));
    this.#put(this.#packet([TOKENS_BIT | levels, ...counted], packed));
    await this.#room();
  }

  /** Change the bitrate of frames completed by audio sent from now on. */
  setLevels(levels) {
    this.#put(JSON.stringify({ type: "levels", levels }));
  }

  /** Say that no input follows; output goes on until all of it is read. */
  finalize() {
    this.#put(JSON.stringify({ type: "finalize" }));
  }

  /** Leave at once, and give up the session. */
  close() {
    this.#fault ??= new GroveError("closed", "the stream was left");
    this.#socket?.close(1000);
    this.#wake();
  }

  /** Yield packets until the session is over. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#output.length > 0) yield this.#output.shift();
      if (this.summary) return;
      if (this.#fault) throw this.#fault;
      await new Promise((resolve) => (this.#wake = resolve));
    }
  }

  #connect() {
    const query = this.session
      ? { resume: this.session.resume.token, received: this.#received }
      : this.#settings;
    const socket = new WebSocket(this.#url + new URLSearchParams(query), this.#subprotocols);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => this.#lost(socket, event);
    // Node.js 20 tells a refused handshake by an error alone; elsewhere a close follows it.
    socket.onerror = () => setTimeout(() => this.#lost(socket, { code: 1006, reason: "" }));
    this.#socket = socket;
  }

  #take(data) {
    if (typeof data === "string") {
      this.#takeText(JSON.parse(data));
    } else {
      this.#received += 1;
      this.#output.push(this.#outputOf(new Uint8Array(data)));
    }
    this.#wake();
  }

  #takeText(said) {
    switch (said.type) {
      case "session.created":
        this.session = said;
        this.#isUp = true;
        this.#opening.resolve();
        break;
      case "session.resumed":
        this.#repeat(said.next_sequence);
        break;
      case "session.closed":
        this.#received += 1;
        this.summary = said;
        break;
      case "error":
        if (said.fatal || said.code === "bad_levels") this.#fail(errorOf(said));
        break;
    }
  }

  #repeat(nextSequence) {
    if (nextSequence < this.#droppedBefore) {
      this.#fail(new GroveError("resume_failed", `packet ${nextSequence} is no longer kept here`));
      return;
    }
    // What was sent before a packet that arrived has arrived as well.
    for (const { sequence, message } of this.#kept) {
      if (sequence >= nextSequence) this.#socket.send(message);
    }
    this.#isUp = true;
    this.#lostAtMs = null;
  }

  #lost(socket, { code, reason }) {
    if (socket !== this.#socket || this.summary || this.#fault) return;
    this.#socket = null;
    this.#isUp = false;
    this.#lostAtMs ??= Date.now();
    const patienceMs = 1000 * (this.session?.resume.seconds ?? 0);
    if (!RESUMABLE.has(code) || Date.now() - this.#lostAtMs >= patienceMs) {
      this.#fail(new GroveError("closed", `the line closed with ${code} ${reason}`));
      return;
    }
    // Spread, so that clients whose server went do not come back together.
    setTimeout(() => this.#fault || this.#connect(), RETRY_MS * (0.5 + Math.random()));
  }

  #fail(error) {
    this.#fault ??= error;
    this.#opening.reject(error);
    this.#wake();
  }

  #packet([kind, ...count], payload) {
    const packet = new Uint8Array(2 + count.length + payload.length);
    packet.set([kind, this.#sequence & 0xff, ...count]);
    packet.set(payload, 2 + count.length);
    return packet;
  }

  #outputOf(bytes) {
    const packet = packetOf(bytes, this.session);
    packet.index = this.#outputs;
    this.#outputs += packet.count;
    return packet;
  }

  #put(message) {
    if (this.#fault) throw this.#fault;
    this.#kept.push({ sequence: this.#sequence, message });
    this.#keptBytes += message.length;
    while (this.#keptBytes > KEPT_BYTES) {
      const oldest = this.#kept.shift();
      this.#keptBytes -= oldest.message.length;
      this.#droppedBefore = oldest.sequence + 1;
    }
    if (typeof message !== "string") this.#sequence += 1;
    if (this.#isUp) this.#socket.send(message); // else it is repeated after the resume
  }

  async #room() {
    while (!this.#fault && (!this.#isUp || this.#socket.bufferedAmount > UNSENT_BYTES)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Return the codes of each frame of a packet of tokens, level 0 first. */
export function framesOf(packet) {
  const view = new DataView(packet.payload.buffer, packet.payload.byteOffset);
  const size = packet.count ? packet.payload.length / 2 / packet.count : 0;
  return Array.from({ length: packet.count }, (_, frame) =>
    Array.from({ length: size }, (_, n) => view.getUint16(2 * (frame * size + n), true)),
  );
}

function packetOf(bytes, session) {
  if (!(bytes[0] & TOKENS_BIT)) {
    const payload = bytes.slice(2);
    const count = payload.length / SAMPLE_BYTES[session.encoding];
    return { kind: "audio", index: 0, count, levels: 0, payload };
  }
  const levels = bytes[0] & 0x7f;
  const start = bytes[2] < 0x80 ? 3 : 4;
  const count = start === 3 ? bytes[2] : (bytes[2] & 0x7f) | (bytes[3] << 7);
  const codes = unpackBits(bytes.subarray(start), widthsOf(session.model, levels), count);
  const payload = new Uint8Array(2 * codes.length);
  const view = new DataView(payload.buffer);
  codes.forEach((code, n) => view.setUint16(2 * n, code, true));
  return { kind: "tokens", index: 0, count, levels, payload };
}

/** Return how many bits each code of a frame takes. */
function widthsOf(model, levels) {
  const used = model.codes_per_level.slice(0, levels).reduce((sum, codes) => sum + codes, 0);
  return model.code_sizes.slice(0, used).map((size) => 32 - Math.clz32(size - 1));
}

/** Return codes as bits, the highest first, filled with zeros to whole bytes. */
function packBits(codes, widths) {
  const bits = codes.reduce((sum, _, n) => sum + widths[n % widths.length], 0);
  const bytes = new Uint8Array(Math.ceil(bits / 8));
  let position = 0;
  codes.forEach((code, n) => {
    for (let bit = widths[n % widths.length] - 1; bit >= 0; bit--, position++) {
      bytes[position >> 3] |= ((code >> bit) & 1) << (7 - (position & 7));
    }
  });
  return bytes;
}

function unpackBits(bytes, widths, frames) {
  const codes = [];
  let position = 0;
  for (let n = 0; n < frames * widths.length; n++) {
    let code = 0;
    for (let bit = widths[n % widths.length]; bit > 0; bit--, position++) {
      code = (code << 1) | ((bytes[position >> 3] >> (7 - (position & 7))) & 1);
    }
    codes.push(code);
  }
  return codes;
}

function bytesOf(chunk) {
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

function errorOf(said) {
  return new GroveError(said.code, said.message, said.hint, said.retry_after_seconds);
}

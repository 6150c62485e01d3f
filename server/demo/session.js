// One session of `/v1/stream`: packets, control messages, and resuming after the line was cut.

import { fullSequence, packPacket, unpackPacket } from "./packets.js";

export { KIND_AUDIO, KIND_TOKENS } from "./packets.js";

const PING_INTERVAL_MS = 2000;
const SILENCE_MS = 7000;
const ACK_EVERY_MESSAGES = 50;
const MAX_WAIT_MS = 3000;
const MAX_BUFFERED_BYTES = 1 << 20;
const CLOSE_DONE = 1000;
const CLOSE_NO_ANSWER = 4900;
// After these a session is gone, but a new one may well be opened.
const GONE = new Set([
  "resume_failed",
  "draining",
  "engine_failed",
  "session_limit",
  "idle",
  "too_fast", // the microphone keeps time, so this is what piled up while the line was cut
]);

export class SessionFailure extends Error {
  constructor(code, message, retryAfterSeconds = null) {
    super(message);
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get isGone() {
    return GONE.has(this.code);
  }
}

// handlers: onPacket(packet), onLine("cut" | "resumed", attempt), onWarning(message),
// onRoundTrip(milliseconds), onFailure(SessionFailure).
export class StreamSession {
  constructor(query, handlers, access) {
    this.query = query;
    this.handlers = handlers;
    this.access = access;
    this.created = null;
    this.reconnects = 0;
    this.socket = null;
    this.sent = []; // packets that the server may still ask for: {sequence, message, mark}
    this.nextSequence = 0;
    this.received = 0;
    this.outputs = 0;
    this.wantedLevels = null;
    this.isFinalizing = false;
    this.isOver = false;
    this.failure = null;
    this.cutAtMs = null;
    this.retryTimer = null;
    this.opened = deferred();
    this.closed = deferred();
    this.onOffline = () => this.dropLine();
  }

  // Resolve with `session.created`.
  open() {
    window.addEventListener("offline", this.onOffline);
    this.pingTimer = setInterval(() => this.ping(), PING_INTERVAL_MS);
    this.connect();
    return this.opened.promise;
  }

  // `mark` is what `confirm` compares with: how far the input goes with this packet.
  sendPacket(kind, levels, count, payload, mark) {
    const sequence = this.nextSequence++;
    const message = packPacket(kind, sequence, levels, count, payload, this.created.model);
    this.sent.push({ sequence, message, mark });
    if (this.isLive()) this.socket.send(message);
  }

  // Output up to `mark` came back, so the packets up to there have arrived.
  confirm(mark) {
    let arrived = 0;
    while (arrived < this.sent.length && this.sent[arrived].mark <= mark) arrived++;
    if (arrived > 0) this.sent.splice(0, arrived);
  }

  setLevels(levels) {
    this.wantedLevels = levels;
    this.sendControl({ type: "levels", levels });
  }

  // Resolve with `session.closed`.
  finalize() {
    this.isFinalizing = true;
    this.sendControl({ type: "finalize" });
    return this.closed.promise;
  }

  // Wait until the line can take more.
  async drained() {
    while (!this.isOver && (!this.isLive() || this.socket.bufferedAmount > MAX_BUFFERED_BYTES)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (this.failure) throw this.failure;
  }

  // Leave without waiting for what is still on its way.
  abandon() {
    if (this.isOver) return;
    this.end();
    if (this.socket) this.socket.close(CLOSE_DONE);
  }

  isLive() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN && this.isTalking;
  }

  sendControl(message) {
    if (this.isLive()) this.socket.send(JSON.stringify(message));
  }

  async connect() {
    this.isTalking = false;
    let protocols;
    try {
      protocols = await this.access.subprotocols();
    } catch {
      this.onClose(null, 1006);
      return;
    }
    if (this.isOver) return;
    const socket = new WebSocket(this.address(), protocols);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.socket === socket && this.onMessage(event.data);
    socket.onclose = (event) => this.onClose(socket, event.code);
    this.socket = socket;
    this.heardAtMs = performance.now();
  }

  address() {
    const url = new URL("v1/stream", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const resume = this.created && { resume: this.created.resume.token, received: this.received };
    url.search = new URLSearchParams(resume || this.query).toString();
    return url.toString();
  }

  onMessage(data) {
    this.heardAtMs = performance.now();
    if (typeof data === "string") this.onControl(JSON.parse(data));
    else this.onPacketMessage(data);
  }

  onPacketMessage(buffer) {
    const { low, ...packet } = unpackPacket(buffer, this.created.model);
    if (!this.count(fullSequence(low, this.received))) return;
    // Each packet goes on where the last one ended.
    this.handlers.onPacket({ index: this.outputs, ...packet });
    this.outputs += packet.count;
  }

  // Tell whether this numbered message is new; a resume may repeat some.
  count(sequence) {
    if (sequence < this.received) return false;
    this.received = sequence + 1;
    if (this.received % ACK_EVERY_MESSAGES === 0) {
      this.sendControl({ type: "ack", sequence: this.received });
    }
    return true;
  }

  onControl(message) {
    switch (message.type) {
      case "session.created":
        this.created = message;
        this.isTalking = true;
        this.sendAgain(0);
        this.opened.resolve(message);
        break;
      case "session.resumed":
        this.isTalking = true;
        this.cutAtMs = null;
        this.reconnects++;
        this.sendAgain(message.next_sequence);
        this.handlers.onLine("resumed", 0);
        break;
      case "session.closed":
        this.count(message.sequence);
        this.end();
        this.closed.resolve(message);
        break;
      case "session.warning":
        if (message.code !== "too_fast") this.handlers.onWarning(message.message);
        break;
      case "session.draining":
        this.handlers.onWarning("The server is going down for maintenance.");
        break;
      case "levels.changed":
        if (message.levels === this.wantedLevels) this.wantedLevels = null;
        break;
      case "flushed":
        this.count(message.sequence);
        break;
      case "pong":
        this.handlers.onRoundTrip(performance.now() - Number(message.id));
        break;
      case "error":
        this.onError(message);
        break;
    }
  }

  onError(message) {
    if (!message.fatal) {
      this.handlers.onWarning(message.message);
      return;
    }
    this.fail(new SessionFailure(message.code, message.message, message.retry_after_seconds));
  }

  // What was not answered before the line was cut goes out once more.
  sendAgain(fromSequence) {
    for (const packet of this.sent) {
      if (packet.sequence >= fromSequence) this.socket.send(packet.message);
    }
    if (this.wantedLevels !== null) this.setLevels(this.wantedLevels);
    if (this.isFinalizing) this.sendControl({ type: "finalize" });
  }

  onClose(socket, code) {
    if (this.isOver || socket !== this.socket) return;
    this.socket = null;
    this.isTalking = false;
    if (this.created === null) {
      this.fail(new SessionFailure("unreachable", `the connection was closed with ${code}`));
      return;
    }
    if (code === 4100) {
      this.fail(new SessionFailure("draining", "the server went down"));
      return;
    }
    this.retry();
  }

  retry() {
    const now = performance.now();
    if (this.cutAtMs === null) {
      this.cutAtMs = now;
      this.attempt = 0;
    }
    if (now - this.cutAtMs > this.created.resume.seconds * 1000) {
      this.fail(new SessionFailure("resume_failed", "the server was away for too long"));
      return;
    }
    this.attempt++;
    this.handlers.onLine("cut", this.attempt);
    const waitMs = Math.min(MAX_WAIT_MS, 250 * 2 ** (this.attempt - 1));
    this.retryTimer = setTimeout(() => this.connect(), waitMs);
  }

  ping() {
    if (!this.socket || this.isOver) return;
    if (performance.now() - this.heardAtMs > SILENCE_MS) this.dropLine();
    else this.sendControl({ type: "ping", id: String(performance.now()) });
  }

  // A dead line may take minutes to close by itself.
  dropLine() {
    const socket = this.socket;
    if (!socket || this.isOver) return;
    this.onClose(socket, 1006);
    socket.close(CLOSE_NO_ANSWER);
  }

  fail(failure) {
    if (this.isOver) return;
    this.failure = failure;
    this.end();
    this.opened.reject(failure);
    this.closed.reject(failure);
    this.handlers.onFailure(failure);
  }

  end() {
    this.isOver = true;
    clearInterval(this.pingTimer);
    clearTimeout(this.retryTimer);
    window.removeEventListener("offline", this.onOffline);
  }
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  // Whoever needs the outcome awaits it; nobody has to.
  made.promise.catch(() => {});
  return made;
}

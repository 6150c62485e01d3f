// What goes through the relay: packets as 13 bytes and their bits, and a few words in JSON.

const HEADER_BYTES = 13; // index u32, captured at f64 (milliseconds of the sender's clock), level u8
const PING_MS = 1000;
const MOST_TRIP_MS = 1000; // a slower answer says too little of the other's clock

export const nowMs = () => performance.timeOrigin + performance.now();

export class Line {
  // handlers: onPacket({ index, level, bytes, capturedAtMs }), onPeer(isThere), onClose(reason)
  constructor(room, handlers) {
    this.handlers = handlers;
    this.clockAheadMs = 0; // the other's clock against this one, from the quickest ping
    this.bestTripMs = MOST_TRIP_MS;
    this.sentBytes = 0;
    this.receivedBytes = 0;
    const url = new URL(`/rooms/${encodeURIComponent(room)}`, location.href.replace(/^http/, "ws"));
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.onText(JSON.parse(data)) : this.onBytes(data));
    this.socket.onclose = ({ reason }) => this.close(reason || "the line was cut");
    this.socket.onopen = () => (this.pinging = setInterval(() => this.say({ type: "ping", at: nowMs() }), PING_MS));
  }

  send({ index, level, bytes }, capturedAtMs) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(HEADER_BYTES + bytes.length);
    const header = new DataView(message.buffer);
    header.setUint32(0, index);
    header.setFloat64(4, capturedAtMs);
    header.setUint8(12, level);
    message.set(bytes, HEADER_BYTES);
    this.socket.send(message);
    this.sentBytes += bytes.length;
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  close(reason) {
    clearInterval(this.pinging);
    this.socket.onclose = null;
    this.socket.close();
    this.handlers.onClose(reason);
  }

  onBytes(data) {
    const header = new DataView(data);
    const bytes = new Uint8Array(data, HEADER_BYTES);
    this.receivedBytes += bytes.length;
    const capturedAtMs = header.getFloat64(4) - this.clockAheadMs;
    this.handlers.onPacket({ index: header.getUint32(0), level: header.getUint8(12), bytes, capturedAtMs });
  }

  onText(said) {
    switch (said.type) {
      case "joined":
      case "left":
        this.bestTripMs = MOST_TRIP_MS; // another machine, another clock
        this.handlers.onPeer(said.type === "joined");
        break;
      case "ping":
        this.handlers.onPeer(true);
        this.say({ type: "pong", at: said.at, here: nowMs() });
        break;
      case "pong":
        this.onPong(said.at, said.here);
        break;
    }
  }

  // The quicker the answer, the better it says what the other's clock was half-way.
  onPong(sentAtMs, thereMs) {
    const tripMs = nowMs() - sentAtMs;
    if (tripMs > this.bestTripMs) return;
    this.bestTripMs = tripMs;
    this.clockAheadMs = thereMs - (sentAtMs + tripMs / 2);
  }
}

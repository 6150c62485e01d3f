// The REST side, and the key where the server wants one.

export class RequestFailure extends Error {
  constructor(status, problem) {
    super(problem.detail || `the server answered ${status}`);
    this.status = status;
    this.code = problem.code || "unreachable";
    this.retryAfterSeconds = problem.retryAfterSeconds || null;
  }
}

export class Access {
  constructor() {
    this.key = "";
  }

  async models() {
    return (await (await this.request("v1/models")).json()).models;
  }

  // Browsers cannot put a key into the header of a WebSocket; a short-lived token goes instead.
  async subprotocols() {
    if (!this.key) return ["grove.v1"];
    const { token } = await (await this.request("v1/tokens", { method: "POST" })).json();
    return ["grove.v1", `grove.key.${token}`];
  }

  async convert(operation, levels, format, body) {
    const query = new URLSearchParams({ levels, format });
    const reply = await this.request(`v1/${operation}?${query}`, { method: "POST", body });
    return reply.blob();
  }

  async request(path, options = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    let reply;
    try {
      reply = await fetch(new URL(path, document.baseURI), { ...options, headers });
    } catch {
      throw new RequestFailure(0, { detail: "the server cannot be reached" });
    }
    if (!reply.ok) {
      const problem = await reply.json().catch(() => ({}));
      problem.retryAfterSeconds = Number(reply.headers.get("Retry-After")) || null;
      throw new RequestFailure(reply.status, problem);
    }
    return reply;
  }
}

// What went wrong, and what to do about it, in words.

export function explain(error) {
  if (error.name === "GroveCodecError") return `The codec in this browser stopped: ${error.message}.`;
  const soon = error.retryAfterSeconds ? ` Try again in ${error.retryAfterSeconds} s.` : "";
  switch (error.code) {
    case "overloaded":
      return `The server is full (${error.message}).${soon || " Try again later."}`;
    case "too_many_sessions":
    case "too_many_requests":
      return `Too much at once from here (${error.message}).${soon || " Close other tabs first."}`;
    case "unauthorized":
      return "The server does not take this key. Enter another one.";
    case "unreachable":
      return "The server cannot be reached. Check that it runs, and start again.";
    case "slow_reader":
      return "This page did not keep up with the server's audio. Start again.";
    case "body_too_large":
      return `The file is too large (${error.message}).`;
    case "unsupported_media":
    case "bad_content":
      return `The server cannot use this file (${error.message}).`;
    default:
      return error.code ? `The server stopped: ${error.message} (${error.code}).` : error.message;
  }
}

// Status for what goes on, alert for what needs the user.
export class Report {
  constructor(status, alert) {
    this.statusLine = status;
    this.alertLine = alert;
  }

  status(text) {
    if (this.statusLine.textContent !== text) this.statusLine.textContent = text;
  }

  alert(text) {
    this.alertLine.textContent = text;
    this.alertLine.hidden = false;
  }

  clear() {
    this.alertLine.textContent = "";
    this.alertLine.hidden = true;
  }
}

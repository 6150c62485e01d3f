// One operation: what it takes and gives, and a form that tries it.

import { element, folded, table } from "./elements.js";
import { showReply } from "./reply.js";
import { choicesOf, fieldsOf, typeOf } from "./schemas.js";

const PROBLEM = "application/problem+json";

/** Return the section of an operation; `keyOf` gives the key to send, or "". */
export function operationSection({ path, method, operation, components }, keyOf) {
  const form = new OperationForm(path, method, operation, components, keyOf);
  return element(
    "section",
    { id: operation.operationId, "aria-label": `${method} ${path}` },
    element("h3", {}, element("span", { class: "method" }, method), " ", element("code", {}, path)),
    element("p", {}, operation.summary ?? ""),
    form.element,
    folded("Replies", ...repliesOf(operation, components)),
  );
}

function repliesOf(operation, components) {
  const replies = Object.entries(operation.responses);
  const refusals = replies.filter(([, { content }]) => content?.[PROBLEM]);
  const others = replies.filter(([, { content }]) => !content?.[PROBLEM]);
  const shown = others.flatMap(([status, reply]) => replyOf(status, reply, components));
  if (!refusals.length) return shown;
  // All refusals have one form.
  const { schema, example } = refusals[0][1].content[PROBLEM];
  const lines = refusals.map(([status, { description }]) => [status, description]);
  return [...shown, element("p", {}, `Refusals, as ${PROBLEM}:`), table(["status", "codes"], lines), ...shapeOf(schema, example, components)];
}

function replyOf(status, reply, components) {
  const contents = Object.entries(reply.content ?? {});
  const media = contents.map(([name]) => name).join(", ");
  const head = element("p", {}, element("strong", {}, status), ` ${reply.description} `, element("span", { class: "quiet" }, media));
  return [head, ...contents.flatMap(([, { schema, example }]) => shapeOf(schema, example, components))];
}

function shapeOf(schema, example, components) {
  const fields = fieldsOf(schema ?? {}, components);
  const parts = fields.length ? [table(["field", "type", "meaning"], fields)] : [];
  if (example) parts.push(element("pre", { tabindex: "0" }, JSON.stringify(example, null, 2)));
  return parts;
}

class OperationForm {
  constructor(path, method, operation, components, keyOf) {
    Object.assign(this, { path, method, keyOf });
    this.isSecured = Boolean(operation.security);
    this.parameters = (operation.parameters ?? []).map((parameter) => ({ parameter, input: inputOf(parameter, components) }));
    this.file = operation.requestBody ? element("input", { type: "file", name: "body" }) : null;
    this.curl = element("pre", { class: "curl", tabindex: "0" });
    this.reply = element("div", { class: "reply", role: "status" });
    this.stop = element("button", { type: "button", hidden: true, click: () => this.abort.abort() }, "Stop");
    this.element = this.formOf(operation, components);
    this.describe();
  }

  formOf(operation, components) {
    const rows = this.parameters.map(({ parameter, input }) => {
      const about = `${parameter.in}${parameter.required ? ", needed" : ""}: ${typeOf(parameter.schema, components)}`;
      const meaning = parameter.description ?? parameter.schema.description ?? "";
      return element("label", {}, element("code", {}, parameter.name), input, element("span", { class: "quiet" }, [about, meaning].filter(Boolean).join("; ")));
    });
    if (this.file) {
      rows.push(element("label", {}, element("code", {}, "body"), this.file, element("span", { class: "quiet" }, operation.requestBody.description ?? "")));
    }
    const listeners = { submit: (event) => this.submit(event), input: () => this.describe() };
    const buttons = element("p", {}, element("button", {}, "Send"), " ", this.stop);
    return element("form", listeners, ...rows, this.curl, buttons, this.reply);
  }

  /** Return { path, headers } as filled in; the path is relative to the page. */
  request() {
    const query = new URLSearchParams();
    const headers = {};
    let path = this.path;
    for (const { parameter, input } of this.parameters) {
      const value = input.value.trim();
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value || `{${parameter.name}}`));
      else if (value && parameter.in === "query") query.set(parameter.name, value);
      else if (value && parameter.in === "header") headers[parameter.name] = value;
    }
    const search = query.toString();
    return { path: `${path.slice(1)}${search && "?"}${search}`, headers };
  }

  describe() {
    const { path, headers } = this.request();
    const named = this.isSecured && this.keyOf() ? { Authorization: "Bearer $GROVE_KEY", ...headers } : headers;
    const words = ["curl", "-sS", ...(["get", "post"].includes(this.method) ? [] : ["-X", this.method.toUpperCase()])];
    for (const [name, value] of Object.entries(named)) words.push("-H", name === "Authorization" ? `"${name}: ${value}"` : quoted(`${name}: ${value}`));
    if (this.file) words.push("--data-binary", quoted(`@${this.file.files[0]?.name ?? "FILE"}`));
    else if (this.method === "post") words.push("-X", "POST");
    this.curl.textContent = [...words, quoted(new URL(path, document.baseURI).href)].join(" ");
  }

  async submit(event) {
    event.preventDefault();
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    const { path, headers } = this.request();
    const key = this.isSecured && this.keyOf();
    if (key) headers.Authorization = `Bearer ${key}`;
    const body = this.file?.files[0];
    this.stop.hidden = false;
    this.reply.replaceChildren(element("p", {}, "Waiting for the reply."));
    const startMs = performance.now();
    try {
      const reply = await fetch(path, { method: this.method.toUpperCase(), headers, body, signal: abort.signal });
      await showReply(this.reply, reply, startMs, abort.signal);
    } catch (error) {
      const text = abort.signal.aborted ? "Stopped." : `No whole reply: ${error.message}.`;
      this.reply.append(element("p", { class: "bad" }, text));
    } finally {
      if (this.abort === abort) this.stop.hidden = true;
    }
  }
}

function inputOf(parameter, components) {
  const { name, required, schema } = parameter;
  const choices = choicesOf(schema, components);
  if (!choices) return element("input", { name, required, autocomplete: "off", spellcheck: "false" });
  const options = choices.map((choice) => element("option", {}, String(choice)));
  return element("select", { name }, ...(required ? [] : [element("option", { value: "" }, "(as the server likes)")]), ...options);
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

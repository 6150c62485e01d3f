// An exported model: a folder whose manifest names every file and its hash. Nothing in it is code.

import { GroveCodecError } from "./errors.js";
import { checkedSpec, isRecord, isWithin } from "./spec.js";

const MANIFEST = "manifest.json";
const GRAPHS = ["encoder.onnx", "decoder.onnx"];
const MANIFEST_LIMIT_BYTES = 1 << 20;
const FILE_LIMIT_BYTES = 1 << 30;
const STATE_LIMIT = 1 << 24;
const CACHE = "grove-bundles";
const HINT = "the bundle is damaged; fetch or export it again";

/**
 * Read a bundle and check every byte that will run. `source` is the address of its folder, or an
 * object of its files: { "manifest.json": bytes, "encoder.onnx": bytes, "decoder.onnx": bytes }.
 */
export async function loadBundle(source, options = {}) {
  if (!globalThis.crypto?.subtle) {
    throw new GroveCodecError(
      "no_crypto",
      "hashes cannot be checked here",
      "browsers allow it on https and on localhost only",
    );
  }
  const reader = isRecord(source) && !(source instanceof URL) ? new Files(source) : new Folder(source, options);
  const manifest = checkedManifest(await reader.read(MANIFEST, null));
  const [encoder, decoder] = await Promise.all(GRAPHS.map((name) => graphOf(reader, manifest, name)));
  await checkModel(manifest, encoder.digest, decoder.digest);
  return { manifest, spec: manifest.spec, encoder: encoder.bytes, decoder: decoder.bytes };
}

async function graphOf(reader, manifest, name) {
  const record = manifest.files[name];
  const bytes = await reader.read(name, record);
  if (bytes.length !== record.size_bytes) {
    const found = `${name} has ${bytes.length} bytes, its manifest says ${record.size_bytes}`;
    throw new GroveCodecError("wrong_hash", found, HINT);
  }
  const digest = await sha256(bytes);
  if (hex(digest) !== record.sha256) {
    const found = `${name} has sha256 ${hex(digest).slice(0, 12)}…, its manifest says ${record.sha256.slice(0, 12)}…`;
    throw new GroveCodecError("wrong_hash", found, HINT);
  }
  await reader.keep(name, record, bytes);
  return { bytes, digest };
}

async function checkModel(manifest, encoder, decoder) {
  const both = new Uint8Array(64);
  both.set(encoder);
  both.set(decoder, 32);
  const model = hex(await sha256(both));
  if (model !== manifest.spec.model_sha256) {
    const named = manifest.spec.model_sha256.slice(0, 12);
    throw new GroveCodecError("wrong_hash", `the graphs make model ${model.slice(0, 12)}…, the manifest names ${named}…`);
  }
}

function checkedManifest(bytes) {
  const refuse = (what) => {
    throw new GroveCodecError("bad_bundle", `${MANIFEST} ${what}`, "a bundle is a folder with a manifest.json");
  };
  if (bytes.length > MANIFEST_LIMIT_BYTES) refuse(`is larger than ${MANIFEST_LIMIT_BYTES} bytes`);
  let said;
  try {
    said = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`is not JSON: ${error.message}`);
  }
  if (!isRecord(said) || said.schema_version !== 1) refuse("has no schema_version 1");
  for (const key of ["encoder_state", "decoder_state"]) {
    if (!isWithin(said[key], 0, STATE_LIMIT)) refuse(`has ${key} ${said[key]}`);
  }
  for (const name of GRAPHS) {
    const record = said.files?.[name];
    const isGood = /^[0-9a-f]{64}$/.test(record?.sha256) && isWithin(record.size_bytes, 1, FILE_LIMIT_BYTES);
    if (!isGood) refuse(`lists no ${name} with its hash and size`);
  }
  const compatible = said.compatible ?? [];
  if (!Array.isArray(compatible) || compatible.length > 64) refuse("has a bad list of compatible models");
  return Object.freeze({ ...said, compatible, spec: checkedSpec(said.spec, "bad_bundle") });
}

class Files {
  constructor(files) {
    this.files = files;
  }

  async read(name) {
    const file = this.files[name];
    if (file === undefined) throw new GroveCodecError("bad_bundle", `there is no ${name} among the files`);
    if (typeof file.arrayBuffer === "function") return new Uint8Array(await file.arrayBuffer());
    if (file instanceof ArrayBuffer) return new Uint8Array(file);
    return new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
  }

  async keep() {}
}

// A folder somewhere on the web. Graphs are kept by their hash, so that the next visit needs no line.
class Folder {
  constructor(url, { headers = {}, cache = true, onProgress = () => {}, signal = undefined }) {
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    this.url = new URL(String(url).replace(/\/?$/, "/"), base).href;
    this.headers = headers;
    this.cacheName = cache && globalThis.caches ? CACHE : null;
    this.onProgress = onProgress;
    this.signal = signal;
  }

  async read(name, record) {
    return (record && (await this.kept(name, record))) ?? this.fetched(name, record);
  }

  async kept(name, record) {
    if (!this.cacheName) return null;
    try {
      const cache = await caches.open(this.cacheName);
      const reply = await cache.match(this.keyOf(name, record));
      if (!reply) return null;
      const bytes = new Uint8Array(await reply.arrayBuffer());
      if (hex(await sha256(bytes)) === record.sha256) {
        this.onProgress({ name, bytes: bytes.length, fetched: 0 });
        return bytes;
      }
      await cache.delete(this.keyOf(name, record));
    } catch {
      this.cacheName = null; // storage is full, or forbidden here
    }
    return null;
  }

  async keep(name, record, bytes) {
    if (!this.cacheName) return;
    try {
      const cache = await caches.open(this.cacheName);
      const key = this.keyOf(name, record);
      if (!(await cache.match(key))) await cache.put(key, new Response(bytes));
    } catch {
      this.cacheName = null;
    }
  }

  keyOf(name, record) {
    return `${this.url}${name}?sha256=${record.sha256}`;
  }

  async fetched(name, record) {
    let reply;
    let bytes;
    try {
      reply = await fetch(this.url + name, { headers: this.headers, signal: this.signal });
      bytes = reply.ok ? await boundedBytes(reply, record?.size_bytes ?? MANIFEST_LIMIT_BYTES) : null;
    } catch (error) {
      throw new GroveCodecError("unreachable", `${this.url}${name}: ${error.message}`);
    }
    if (!bytes) throw new GroveCodecError("unreachable", `${this.url}${name}: status ${reply.status}`);
    this.onProgress({ name, bytes: bytes.length, fetched: bytes.length });
    return bytes;
  }
}

// No server makes this take more memory than the manifest allows: one byte too many is enough to refuse.
async function boundedBytes(reply, limit) {
  const parts = [];
  let total = 0;
  for (const reader = reply.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    total += value.length;
    if (total > limit) {
      await reader.cancel();
      break;
    }
  }
  const bytes = new Uint8Array(total);
  let place = 0;
  for (const part of parts) {
    bytes.set(part, place);
    place += part.length;
  }
  return bytes;
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What the codec refuses, with one name for each reason.

/** `code` is one of ERROR_CODES; `hint` says what to do, where there is something. */
export class GroveCodecError extends Error {
  constructor(code, message, hint = undefined) {
    super(`${code}: ${message}${hint ? ` (${hint})` : ""}`);
    this.name = "GroveCodecError";
    this.code = code;
    this.hint = hint;
  }

  // A project may hold two copies of this class: that of `import`, and that of `require`.
  static [Symbol.hasInstance](error) {
    return error?.name === "GroveCodecError";
  }
}

export const ERROR_CODES = Object.freeze([
  "no_runtime", // onnxruntime-web is not where it was looked for
  "no_simd", // this browser's WebAssembly has no SIMD
  "no_threads", // several threads need a page that is cross-origin isolated
  "no_crypto", // a page on plain http cannot check hashes
  "unreachable", // a file of the bundle did not arrive
  "bad_bundle", // a manifest or graph that is none
  "wrong_hash", // a file is not the one that the manifest names
  "bad_samples", // NaN, infinity, or not samples at all
  "bad_rate", // a sample rate outside the limits
  "bad_levels", // levels that the model does not have
  "bad_packet", // a packet that breaks BITSTREAM.md, or is out of place
  "bad_file", // a .grv file that breaks BITSTREAM.md
  "foreign_model", // tokens of another model
  "worker_lost", // the Worker ended
  "closed", // the stream or the codec was closed, or has failed before
]);

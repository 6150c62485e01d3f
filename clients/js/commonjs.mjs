// Writes dist/, which `require` and its types get: the modules beside it, as CommonJS.
import { mkdir, readFile, writeFile } from "node:fs/promises";

const here = new URL("./", import.meta.url);
const EXPORT = /^export (?=(?:class|function|const) (\w+))/gm;
// Between the modules that are joined.
const JOINT = /^(?:import|export) \{.*\} from "\.\/grove-stream\.js";\n+/gm;
const HEAD = "// Made by commonjs.mjs; do not edit.\n";

async function converted(...names) {
  const sources = await Promise.all(names.map((name) => readFile(new URL(name, here), "utf8")));
  const source = sources.join("\n").replaceAll(JOINT, "");
  const exported = [...source.matchAll(EXPORT)].map(([, name]) => name);
  const body = source.replaceAll(EXPORT, "");
  if (/^(import|export)\b|import\.meta/m.test(body)) throw new Error(`${names}: more than plain exports`);
  return `${HEAD}"use strict";\n${body}\nmodule.exports = { ${exported.join(", ")} };\n`;
}

async function typesOf(name) {
  return HEAD + (await readFile(new URL(name, here), "utf8"));
}

// The codec's modules load in their own time, and so does `load`; only its errors have to be there at once.
const LOCAL = `${HEAD}"use strict";
const { ERROR_CODES, GroveCodecError } = require("./errors.cjs");

class GroveCodec {
  static async load(source, options) {
    const codec = await import("../local/index.js");
    return codec.GroveCodec.load(source, options);
  }
}

module.exports = { ERROR_CODES, GroveCodec, GroveCodecError };
`;

await mkdir(new URL("dist/", here), { recursive: true });
const files = {
  "grove-client.cjs": await converted("grove-stream.js", "grove-client.js"),
  "grove-client.d.cts": await typesOf("grove-client.d.ts"),
  "errors.cjs": await converted("local/errors.js"),
  "local.cjs": LOCAL,
  "local.d.cts": await typesOf("local/index.d.ts"),
};
for (const [name, text] of Object.entries(files)) await writeFile(new URL(`dist/${name}`, here), text);

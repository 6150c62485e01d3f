// The same conversion as commands to paste; `speech.wav` stands for any audio file.

export const LANGUAGES = ["curl", "python", "js"];

export function snippet(language, levels, needsKey) {
  const base = new URL(".", document.baseURI).toString();
  switch (language) {
    case "curl":
      return curl(base, levels, needsKey);
    case "python":
      return python(base, levels, needsKey);
    case "js":
      return js(base, levels, needsKey);
    default:
      throw new Error(`no snippet for ${language}`);
  }
}

function curl(base, levels, needsKey) {
  const key = needsKey ? `  -H "Authorization: Bearer $GROVE_KEY" \\\n` : "";
  return `# audio -> tokens
curl -sSf --data-binary @speech.wav \\
${key}  "${base}v1/encode?levels=${levels}" -o speech.grv

# tokens -> audio
curl -sSf --data-binary @speech.grv \\
${key}  "${base}v1/decode" -o back.wav`;
}

function python(base, levels, needsKey) {
  const imports = needsKey ? "import os\n" : "";
  const header = needsKey
    ? `\n    request.add_header("Authorization", "Bearer " + os.environ["GROVE_KEY"])`
    : "";
  return `${imports}from pathlib import Path
from urllib.request import Request, urlopen


def post(path: str, body: bytes) -> bytes:
    request = Request("${base}v1/" + path, body)
    request.add_header("Content-Type", "application/octet-stream")${header}
    with urlopen(request) as reply:
        return reply.read()


tokens = post("encode?levels=${levels}", Path("speech.wav").read_bytes())
Path("speech.grv").write_bytes(tokens)
Path("back.wav").write_bytes(post("decode", tokens))`;
}

function js(base, levels, needsKey) {
  const headers = needsKey
    ? `\n  const headers = { Authorization: \`Bearer \${process.env.GROVE_KEY}\` };`
    : "";
  const passed = needsKey ? ", headers" : "";
  return `import { readFile, writeFile } from "node:fs/promises";

async function post(path, body) {${headers}
  const reply = await fetch("${base}v1/" + path, { method: "POST", body${passed} });
  if (!reply.ok) throw new Error((await reply.json()).detail);
  return new Uint8Array(await reply.arrayBuffer());
}

const tokens = await post("encode?levels=${levels}", await readFile("speech.wav"));
await writeFile("speech.grv", tokens);
await writeFile("back.wav", await post("decode", tokens));`;
}

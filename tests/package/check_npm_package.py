"""What npm installs of `clients/js` in an empty project: modules, CommonJS, types, and the codec.

Run by `make test-node`, since Node.js is no dependency of the project and npm asks its registry.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from client_cases import ServerProcess  # noqa: E402 - found by the line above

CLIENT = ROOT / "clients" / "js"
BUNDLE = ROOT / "exports" / "grove-24k-0.4.0"
CLIP = ROOT / "tests" / "fixtures" / "speech-052.flac"
NPM_INSTALL = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
IMPORTS = {
    "mjs": 'import { Grove, GroveError, GroveStream, framesOf } from "grove-codec";\n'
    'import { ERROR_CODES, GroveCodec, GroveCodecError } from "grove-codec/local";\n'
    'import { readFile } from "node:fs/promises";\n',
    "cjs": 'const { Grove, GroveError, GroveStream, framesOf } = require("grove-codec");\n'
    'const { ERROR_CODES, GroveCodec, GroveCodecError } = require("grove-codec/local");\n'
    'const { readFile } = require("node:fs/promises");\n',
}
SERVICE = """
async function main([url, clip]) {
  const grove = new Grove(url);
  const [model] = await grove.models();
  const audio = await readFile(clip);
  const tokens = await grove.encode(audio, { levels: 2 });
  const started = await grove.jobs.start("encode", audio, { levels: 2 });
  const job = await grove.jobs.wait(started.id);
  const same = Buffer.compare(tokens, await grove.jobs.result(job.id)) === 0;
  const listed = (await grove.jobs.list()).some(({ id }) => id === job.id);
  await grove.jobs.delete(job.id);
  const gone = await grove.jobs.get(job.id).catch((error) => error);
  const stream = await grove.stream({ mode: "encode", levels: 2, pace: "file" });
  await stream.send(new Int16Array(24000));
  stream.finalize();
  let frames = 0;
  for await (const packet of stream) frames += framesOf(packet).length;
  console.log(JSON.stringify([model.name, job.state, same, listed, gone instanceof GroveError,
    gone.code, stream instanceof GroveStream, frames]));
}
main(process.argv.slice(2));
"""
LOCAL = """
async function main([bundle]) {
  const files = {};
  for (const name of ["manifest.json", "encoder.onnx", "decoder.onnx"]) {
    files[name] = await readFile(`${bundle}/${name}`);
  }
  for (const worker of [false, true]) {
    const codec = await GroveCodec.load(files, { worker });
    const grv = await codec.encode(new Float32Array(4800), { levels: 2 });
    const { channels } = await codec.decode(grv);
    await codec.close();
    const error = await codec.encode(new Float32Array(480)).catch((error) => error);
    const isKnown = ERROR_CODES.includes(error.code);
    console.log(channels[0].length, error instanceof GroveCodecError, isKnown);
  }
}
main(process.argv.slice(2));
"""
RETRIES = """
const { createServer } = require("node:http");
const { Grove } = require("grove-codec");
const seen = [];
const answers = [503, "cut", 429, 200];
const server = createServer((request, reply) => {
  const answer = answers.shift();
  seen.push(request.headers["idempotency-key"]);
  if (answer === "cut") return request.socket.destroy();
  reply.writeHead(answer, { "Retry-After": "0" });
  reply.end(JSON.stringify(answer === 200 ? { id: "1" } : { code: "overloaded", detail: "full" }));
});
server.listen(0, "127.0.0.1", async () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const job = await new Grove(url).jobs.start("encode", "audio");
  answers.push("cut");
  const lost = await new Grove(url).jobs.delete("1").catch((error) => error);
  answers.push(503);
  const once = await new Grove(url, null, { attempts: 1 }).models().catch((error) => error);
  const keys = new Set(seen.slice(0, 4)).size;
  console.log(JSON.stringify([job.id, keys, seen.length, lost.code, once.code]));
  server.close();
});
"""
TYPED = """
import { Grove, GroveError, GroveStream, framesOf, type Job } from "grove-codec";
import { GroveCodec, GroveCodecError, type ErrorCode } from "grove-codec/local";

export async function main(url: string): Promise<number> {
  const grove = new Grove(url, "key", { attempts: 2 });
  const tokens: Uint8Array = await grove.encode("audio", { levels: 2, format: "npy" });
  const job: Job = await grove.jobs.wait((await grove.jobs.start("decode", new Blob([]))).id);
  const stream: GroveStream = await grove.stream({ mode: "encode", levels: 1 });
  let frames = 0;
  for await (const packet of stream) frames += framesOf(packet).length;
  const codec = await GroveCodec.load("/bundle", { worker: true });
  for (const packet of await codec.encoder().push(new Float32Array(480))) {
    const payload = new Uint8Array(packet.codes.buffer);
    await stream.sendTokens({ count: 1, levels: packet.level, payload });
  }
  const known = (error: unknown): ErrorCode | null =>
    error instanceof GroveCodecError ? error.code : null;
  const code: string = known(null) ?? new GroveError("a", "b").code;
  return frames + tokens.length + job.levels + code.length;
}
"""


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tarball")
    run("make", "-s", "clients-js", f"PACKED={out}", cwd=ROOT)
    (found,) = out.glob("*.tgz")
    return found


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with nothing but the package and what it asks for."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name": "fresh", "private": true}')
    run(*NPM_INSTALL, tarball, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def tsc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typescript")
    run(*NPM_INSTALL, "typescript@5.9.3", cwd=folder)
    return folder / "node_modules" / ".bin" / "tsc"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("state")) as started:
        yield started


def node(project: Path, name: str, program: str, *arguments: object) -> str:
    (project / name).write_text(program)
    flags = ("--no-warnings", "--experimental-websocket", "--no-experimental-require-module")
    return run("node", *flags, name, *arguments, cwd=project)


def test_the_tarball_has_the_client_its_licence_and_no_more(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    local = {f"local/{path.name}" for path in (CLIENT / "local").iterdir()}
    made = {"errors.cjs", "grove-client.cjs", "grove-client.d.cts", "local.cjs", "local.d.cts"}
    own = {"grove-client.js", "grove-client.d.ts", "grove-stream.js"}
    about = {"LICENSE", "README.md", "package.json"}
    assert names == local | {f"dist/{name}" for name in made} | own | about
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("kind", ["mjs", "cjs"])
def test_files_jobs_and_streams_of_a_real_server(
    kind: str, project: Path, server: ServerProcess
) -> None:
    said = node(project, f"service.{kind}", IMPORTS[kind] + SERVICE, server.url, CLIP)
    wanted = ["grove-24k", "done", True, True, True, "not_found", True]
    *found, frames = json.loads(said)
    assert found == wanted
    assert frames >= 50


@pytest.mark.parametrize("kind", ["mjs", "cjs"])
def test_the_codec_runs_with_what_npm_installed(kind: str, project: Path) -> None:
    said = node(project, f"local.{kind}", IMPORTS[kind] + LOCAL, BUNDLE)
    assert said == "4800 true true\n" * 2


def test_calls_that_fail_for_now_are_made_again_and_a_job_is_started_once(project: Path) -> None:
    job, keys, calls, lost, once = json.loads(node(project, "retries.cjs", RETRIES))
    assert (job, keys, calls) == ("1", 1, 6)
    assert (lost, once) == ("unreachable", "overloaded")


@pytest.mark.parametrize(
    ("kind", "module", "resolution"),
    [("mts", "node16", "node16"), ("cts", "node16", "node16"), ("ts", "esnext", "bundler")],
)
def test_types_are_found_and_say_what_is_wrong(
    kind: str, module: str, resolution: str, project: Path, tsc: Path
) -> None:
    options = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom,dom.iterable"]
    check = [tsc, *options, "--module", module, "--moduleResolution", resolution]
    (project / f"right.{kind}").write_text(TYPED)
    run(*check, f"right.{kind}", cwd=project)
    (project / f"wrong.{kind}").write_text(
        TYPED.replace("levels: 2, format", 'levels: "2", format')
    )
    with pytest.raises(AssertionError, match="'string' is not assignable to type 'number'"):
        run(*check, f"wrong.{kind}", cwd=project)

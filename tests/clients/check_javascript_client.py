"""The JavaScript client on Node.js against a real server.

Not collected by itself, since Node.js is no dependency of the project: name this file to run it.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from client_cases import KEY, ROOT, ServerProcess
from grove_client import Grove, StreamSettings

CLIENT = ROOT / "clients" / "js" / "grove-client.js"
EXAMPLE = ROOT / "clients" / "js" / "examples" / "round-trip.mjs"


def run_node(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["node", "--no-warnings", "--experimental-websocket", *map(str, arguments)]
    return subprocess.run(command, timeout=30, check=False, capture_output=True, text=True)


def evaluate(program: str, tmp_path: Path) -> str:
    """Run a module that imports the client; return what it prints."""
    script = tmp_path / "check.mjs"
    imports = f"import {{ Grove, GroveStream, framesOf }} from {json.dumps(CLIENT.as_uri())};\n"
    script.write_text(imports + program)
    ran = run_node(script)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def sha256_of(url: str, pcm: bytes) -> str:
    settings = StreamSettings(mode="encode", levels=3, pace="file")
    with Grove(url) as grove, grove.stream(settings) as stream:
        list(stream.exchange([pcm]))
        assert stream.summary is not None
        return stream.summary.sha256


def test_the_example_has_the_tokens_of_the_python_client(
    grove_server: ServerProcess, speech_wav: Path, speech_pcm: bytes
) -> None:
    ran = run_node(EXAMPLE, grove_server.url, speech_wav)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["sha256"] == sha256_of(grove_server.url, speech_pcm)
    assert said["codesPerFrame"] == 6
    assert said["samples"] >= len(speech_pcm) // 2


def test_the_script_of_the_readme_runs(grove_server: ServerProcess, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```js\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in script
    for name in ("grove-client.js", "grove-stream.js"):
        shutil.copy(CLIENT.with_name(name), tmp_path)
    path = tmp_path / "script.mjs"
    path.write_text(script.replace("http://127.0.0.1:8000", grove_server.url))
    ran = run_node(path)
    assert ran.returncode == 0, ran.stderr
    indices = [int(number) for number in re.findall(r"^(\d+) \[", ran.stdout, re.MULTILINE)]
    assert indices == sorted(indices)
    assert indices[-1] >= 48


def test_files_are_those_of_the_python_client(
    grove_server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    program = f"""
        import {{ readFile, writeFile }} from "node:fs/promises";
        const grove = new Grove({grove_server.url!r});
        const wav = await readFile({str(speech_wav)!r});
        const tokens = await grove.encode(wav, {{ levels: 2 }});
        await writeFile({str(tmp_path / "out.wav")!r}, await grove.decode(tokens));
    """
    evaluate(program, tmp_path)
    with Grove(grove_server.url) as grove:
        expected = grove.transcode(speech_wav.read_bytes(), levels=2)
    assert (tmp_path / "out.wav").read_bytes() == expected


def test_a_dropped_line_loses_and_doubles_no_frame(
    grove_server: ServerProcess, speech_wav: Path, speech_pcm: bytes, tmp_path: Path
) -> None:
    program = f"""
        import {{ readFile }} from "node:fs/promises";
        import {{ createServer, connect }} from "node:net";
        const ends = [];
        let connections = 0;
        const relay = createServer((near) => {{
          connections += 1;
          const far = connect({grove_server.port}, "127.0.0.1");
          near.pipe(far);
          far.pipe(near);
          for (const end of [near, far]) end.on("error", () => {{}});
          ends.push(near, far);
        }});
        await new Promise((resolve) => relay.listen(0, "127.0.0.1", resolve));
        const grove = new Grove(`http://127.0.0.1:${{relay.address().port}}`);
        const pcm = (await readFile({str(speech_wav)!r})).subarray(44);
        const stream = await grove.stream({{ mode: "encode", levels: 3, pace: "file" }});
        const sending = (async () => {{
          for (let n = 0; n * 960 < pcm.length; n += 1) {{
            if (n === 20 || n === 50) for (const end of ends) end.destroy();
            await stream.send(pcm.subarray(960 * n, 960 * (n + 1)));
            await new Promise((resolve) => setTimeout(resolve, 2));
          }}
          stream.finalize();
        }})();
        let frames = 0;
        for await (const packet of stream) frames += framesOf(packet).length;
        await sending;
        relay.close();
        const {{ sha256, frames: wanted }} = stream.summary;
        console.log(JSON.stringify({{ sha256, missing: wanted - frames, connections }}));
    """
    said = json.loads(evaluate(program, tmp_path))
    assert said["connections"] == 3
    assert said["missing"] == 0
    assert said["sha256"] == sha256_of(grove_server.url, speech_pcm)


def test_a_key_opens_a_stream_and_refusals_have_codes(
    locked_server: ServerProcess, tmp_path: Path
) -> None:
    program = f"""
        const grove = new Grove({locked_server.url!r}, {KEY!r});
        const first = await grove.stream({{ mode: "encode" }});
        const refused = await grove.stream({{ mode: "encode" }}).catch((error) => error);
        first.close();
        const stranger = new Grove({locked_server.url!r}, "wrong");
        const denied = await stranger.stream({{}}).catch((error) => error);
        const problem = await stranger.encode("audio").catch((error) => error);
        console.log(first.session.levels, refused.code, refused.retryAfterSeconds, denied.code,
          problem.code);
    """
    said = evaluate(program, tmp_path)
    assert said.split() == ["6", "overloaded", "5", "closed", "unauthorized"]

"""From nothing to a federated adapter with the commands of the README alone, and a real (tiny) model in the middle."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from server_process import ServerProcess, command
from tiny_model import save_model

CLIENT = [sys.executable, "-c", "from edge_client.cli import main; main()"]


def run(*arguments: object) -> str:
    done = subprocess.run(
        [*CLIENT, *(str(argument) for argument in arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_participants_train_a_new_adapter_and_the_operator_exports_it(tmp_path: Path) -> None:
    model, adapter = save_model(tmp_path / "model"), tmp_path / "adapter"
    run("new-adapter", model, adapter, "--rank", 4, "--target-modules", "q_proj,v_proj")
    server = ServerProcess(tmp_path, adapter=adapter, model="tiny-llama", target=3, rounds=1, muster_window="10min")
    server.start()
    try:
        processes = []
        for number, link in enumerate(server.invite("--count", 3)):
            data = tmp_path / f"data{number}.jsonl"
            data.write_text(
                "".join(
                    json.dumps({"instruction": f"Say {word}.", "context": "", "response": f"{word}!"}) + "\n"
                    for word in (f"w{number}{k}" for k in range(20))
                )
            )
            options = [
                "--data",
                data,
                "--state",
                tmp_path / f"state{number}",
                "--model-path",
                model,
                "--json",
                "--memory",
                "4GiB",
            ]
            processes.append(
                subprocess.Popen(
                    [*CLIENT, "join", str(link), *(str(option) for option in options)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for process in processes:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0, out  # the federation has finished: nobody has to stop it
            events = [json.loads(line) for line in out.splitlines()]
            [ended] = [event for event in events if event["event"] == "RoundFinished"]
            assert (ended["outcome"], ended["counted"], ended["survivors"]) == ("published", True, 3)
            steps = [e["training"]["step"] for e in events if e["event"] == "Training" and "step" in e["training"]]
            assert 3 in steps
        made = command("export", server.folder, tmp_path / "out")
        assert made.returncode == 0, made.stderr
    finally:
        server.stop()
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert any(not np.array_equal(before[name], after[name]) for name in before)

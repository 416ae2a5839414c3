"""Fetch the newest adapter of a federation that this machine has joined, and ask it something, with transformers and
PEFT: ``python examples/newest_adapter.py adapter "What is federated learning?"``."""

import asyncio
import sys
from pathlib import Path

from edge_client import Client, checked_model, lora_config


async def fetch(out: Path, state: Path | None = None) -> Path:
    """Write it as a PEFT folder. The folder of the base model that it belongs to, which is fetched if need be, and
    checked: a server names it."""
    async with Client.open(state) as client:
        task = await client.fetch_adapter(out)
        return await asyncio.to_thread(checked_model, task.model, client.preferences.model_folder)


def ask(base: Path, adapter: Path, question: str, tokens: int = 100) -> str:
    """The adapted model's answer."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    config = lora_config((adapter / "adapter_config.json").read_text())  # plain LoRA, and nothing that imports code
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter, config=config)
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(ask(asyncio.run(fetch(folder)), folder, sys.argv[2]))

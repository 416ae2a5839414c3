"""What transformers makes of each type of model, as far as memory asks: its linear layers' names, and what its layers
keep for the backward pass. Read from transformers 5.23, and held to it by tests."""

from typing import NamedTuple


class Family(NamedTuple):
    """Names of the linear layers, one for several projections where they are fused into one matrix; ``gated``: of the
    MLP; ``norms``: copies of a layer's width that its norms keep; ``head_norms``: queries and keys are normed too;
    ``eager``: transformers has no fused attention for it; ``turned``: queries and keys are turned by their position,
    and so do not stay parts of what one matrix made; ``activation``: where the configuration names none;
    ``layer_norm``: its norms are torch's, in the compute dtype on a CPU; ``widened``: attention's softmax is in float32
    by its own code; ``packs``: its attention takes the lengths of packed records; ``joined``: queries are joined of a
    part that is turned and one that is not, so that the heads' output is copied into order."""

    attention: tuple[str, ...]
    out: str
    mlp: tuple[str, ...]
    down: str
    gated: bool = True
    norms: int = 2
    head_norms: bool = False
    eager: bool = False
    turned: bool = True
    activation: str = "silu"
    layer_norm: bool = False
    widened: bool = True
    packs: bool = True
    joined: bool = False


_QKV = ("q_proj", "k_proj", "v_proj")
_LAYER_NORM = Family(_QKV, "out_proj", ("c_fc",), "c_proj", gated=False, layer_norm=True)
_NEOX = _LAYER_NORM._replace(
    attention=("query_key_value",), out="dense", mlp=("dense_h_to_4h",), down="dense_4h_to_h", activation="gelu"
)
_GPT2 = _LAYER_NORM._replace(attention=("c_attn",), out="c_proj", turned=False, activation="gelu_new")
_GPTJ = _LAYER_NORM._replace(
    mlp=("fc_in",), down="fc_out", norms=1, eager=True, widened=False, packs=False, activation="gelu_new"
)
LLAMA = Family(_QKV, "o_proj", ("gate_proj", "up_proj"), "down_proj")
_GLM = LLAMA._replace(mlp=("gate_up_proj",), joined=True)
_UNGATED = LLAMA._replace(mlp=("up_proj",), gated=False, activation="relu2")
FAMILIES = {
    **dict.fromkeys("llama mistral qwen2 gemma smollm3 olmo granite cohere cohere2 ernie4_5".split(), LLAMA),
    "stablelm": LLAMA._replace(joined=True, layer_norm=True, packs=False),
    "qwen3": LLAMA._replace(head_norms=True),
    "olmo2": LLAMA._replace(head_norms=True),
    "gemma2": LLAMA._replace(norms=4, eager=True, packs=False),
    "gemma3_text": LLAMA._replace(norms=4, head_norms=True),
    "glm": _GLM,
    "glm4": _GLM._replace(norms=4),
    "phi3": _GLM._replace(attention=("qkv_proj",)),
    "phi": _LAYER_NORM._replace(out="dense", mlp=("fc1",), down="fc2", norms=1, joined=True, activation="gelu_new"),
    "gpt_neox": _NEOX._replace(joined=True),
    "bloom": _NEOX._replace(eager=True, turned=False, packs=False),
    "falcon": _NEOX._replace(joined=True, turned=False, packs=False),
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2._replace(activation="gelu_pytorch_tanh"),
    "gptj": _GPTJ,
    "codegen": _GPTJ._replace(attention=("qkv_proj",)),
    "gpt_neo": _GPTJ._replace(mlp=("c_fc",), down="c_proj", norms=2, turned=False),
    "mpt": _UNGATED._replace(
        attention=("Wqkv",), out="out_proj", eager=True, turned=False, activation="gelu", layer_norm=True, packs=False
    ),
    "opt": _LAYER_NORM._replace(mlp=("fc1",), down="fc2", turned=False, activation="relu"),
    "starcoder2": _LAYER_NORM._replace(out="o_proj", activation="gelu_pytorch_tanh"),
    "nemotron": _UNGATED._replace(joined=True, layer_norm=True, packs=False),
    "arcee": _UNGATED,
}
EAGER = set("gpt_oss granite_swa granitemoe_swa mimo_v2_flash vaultgemma openai-gpt xglm".split())
"""Other types that transformers has no fused attention for."""
TIED = set("gemma gemma2 gemma3_text gpt2 opt falcon bloom smollm3 cohere cohere2 starcoder2 mpt ernie4_5".split())
TIED |= {"gpt_neo", "gpt_bigcode"}
"""Types whose head is the embedding unless the configuration says otherwise."""
HEAD_WIDTH = {"gemma": 256, "gemma2": 256, "gemma3_text": 256, "qwen3": 128, "glm": 128, "glm4": 128}
"""What transformers takes for a head's width where that is not width / heads."""
EQUAL_HEADS = {"gpt_neox", "gpt2", "gptj", "gpt_neo", "codegen", "opt", "bloom", "mpt"}
"""Types with as many key heads as heads, whatever else the configuration says."""
FIXED_INNER = {"bloom", "mpt", "falcon"}
"""Types whose MLP is four times as wide as the model, by transformers' own rule, where it has no name for the ratio."""
POSITIONS = {"gpt2": 0, "opt": 2, "gpt_neo": 0, "gpt_bigcode": 0}
"""Types that learn a table of positions, and the rows that it has besides."""
TABLES = {
    "gpt2": 1024,
    "opt": 2048,
    "gptj": 2048,
    "codegen": 2048,
    "gpt_neo": 2048,
    "gpt_bigcode": 1024,
    "biogpt": 1024,
}
"""Types that look positions up in a table, and its length where the configuration says none."""
WINDOWS = {"mistral": 4096, "gemma3_text": 4096, "cohere2": 4096}
"""Types whose attention looks back so many tokens where the configuration says nothing."""
WHOLE_EVERY = {"gemma3_text": 6, "cohere2": 4}
"""Types of which every so manieth layer looks back all the way."""
DROPOUT = {"gpt2": 0.1, "gpt_bigcode": 0.1, "opt": 0.1}
"""Types that leave values out at random where the configuration says nothing."""
ACTIVATIONS = {"gelu_new": 4, "gelu_fast": 7, "quick_gelu": 2, "gelu_python": 3, "gelu_10": 2}
"""How many values an activation keeps for one of its input: where it is not one operation."""

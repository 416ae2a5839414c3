"""The page's section *Strategies*, written a second time: which tensors a round sums."""

ENDINGS = {"A": (".lora_A.weight", ".lora_embedding_A"), "B": (".lora_B.weight", ".lora_embedding_B")}


def summed(strategy: str, number: int, names: list[str]) -> list[bool]:
    """For each tensor, whether round ``number`` sums it."""
    factors = [next((f for f, ends in ENDINGS.items() if name.endswith(ends)), None) for name in names]
    wanted = {"ffa-lora": "B", "rolora": "B" if number % 2 else "A", "shared-a": "A"}.get(strategy)
    return [wanted is None or factor == wanted for factor in factors]

"""``python -m benchmarks.training.child``: the client's training child, for which a random Llama has weights."""

from edge_client.training import child, weights

from .random_llama import drawn_weights

if __name__ == "__main__":
    weights.stored_weights = drawn_weights  # before anything has imported it
    child.main()

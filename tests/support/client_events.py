"""What a client's events tell of, for tests of what shows them."""

from edge_client import training as t
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings

TASK = TaskSpec(
    name="n",
    model=ModelRef(id="some/model"),
    adapter_config="{}",
    tensors=(TensorSpec(name="a", shape=(2, 3)),),
    training=TrainingSettings(),
)
PROGRESS = t.Progress(
    step=2, steps=4, loss=2.5, tokens_per_second=100.0, memory_bytes=2**30, budget_bytes=2**31, seconds_left=9.0
)

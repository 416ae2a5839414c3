"""Which layers' activations are kept for the backward pass, and which are computed again from the layer's input
(Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174)."""

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute(model: PreTrainedModel, count: int) -> int:
    """Let the first ``count`` layers of ``model`` compute their activations again and the others keep them; how many
    do: none of a model that cannot, all of one that knows only all or none.

    The first ones, since the backward pass comes to them last: what the others kept is free by then.
    """
    if count == 0 or not model.supports_gradient_checkpointing:
        if model.supports_gradient_checkpointing:
            model.activation_checkpointing_disable()
        return 0
    model.activation_checkpointing_enable({"use_reentrant": False})
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers[count:]:
        layer.gradient_checkpointing = False
    return min(count, len(layers)) if layers else int(model.config.get_text_config().num_hidden_layers)

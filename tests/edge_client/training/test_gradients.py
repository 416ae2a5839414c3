"""What takes no part in a loss has no gradient; what takes part and gets none is an error that names it."""

import pytest
import torch
from torch import Tensor, nn

from edge_client.training.failures import ModelError
from edge_client.training.gradients import Gradients


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.unused = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def loss(self, *, broken: bool) -> Tensor:
        middle = self.first(torch.ones(2, 4))
        return self.last(middle.detach() if broken else middle).sum()


def test_a_module_that_takes_no_part_has_no_gradient_and_the_others_have_theirs() -> None:
    model = Branches()
    loss, (first, last, unused) = Gradients(model, list(model.parameters())).of(lambda: model.loss(broken=False))
    expected = torch.autograd.grad(model.loss(broken=False), [model.first.weight, model.last.weight])
    assert unused is None
    assert loss == model.loss(broken=False)
    for found, wanted in zip((first, last), expected, strict=True):
        assert found is not None
        assert torch.equal(found, wanted)


def test_a_gradient_that_is_lost_on_its_way_is_refused_by_name() -> None:
    model = Branches()
    with pytest.raises(ModelError, match=r"first\.weight"):
        Gradients(model, list(model.parameters())).of(lambda: model.loss(broken=True))


def test_memory_that_runs_out_in_the_first_loss_leaves_the_next_one_watched() -> None:
    model = Branches()
    gradients = Gradients(model, list(model.parameters()))

    def run_out() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        gradients.of(run_out)
    with pytest.raises(ModelError, match="No gradient"):
        gradients.of(lambda: model.loss(broken=True))

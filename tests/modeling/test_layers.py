"""The small layers: their formula, where dropout acts, and the initialisation."""

import pytest
import torch
from torch import nn

from dab_detr.modeling.layers import MLP, FeedForward, init_xavier


def test_mlp_has_relu_between_layers_and_none_after_the_last():
    mlp = MLP(4, 5, 6, 3)
    assert [type(layer) for layer in mlp] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [(x.in_features, x.out_features) for x in mlp if isinstance(x, nn.Linear)] == [(4, 5), (5, 6), (6, 3)]
    x = torch.randn(7, 4)
    expected = mlp[4](mlp[2](mlp[0](x).clamp(min=0)).clamp(min=0))
    assert torch.equal(mlp(x), expected)
    assert (expected < 0).any()


def test_feed_forward_is_linear_activation_linear():
    ffn = FeedForward(dim=4, hidden=9, activation=nn.PReLU(init=0.3))
    x = torch.randn(2, 5, 4)
    hidden = x @ ffn.linear1.weight.T + ffn.linear1.bias
    hidden = torch.where(hidden > 0, hidden, 0.3 * hidden)
    torch.testing.assert_close(ffn(x), hidden @ ffn.linear2.weight.T + ffn.linear2.bias)


def test_feed_forward_drops_hidden_channels_in_training_only():
    ffn = FeedForward(dim=4, hidden=9, activation=nn.ReLU(), dropout=1.0)
    x = torch.randn(3, 4)
    assert torch.equal(ffn(x), ffn.linear2.bias.expand(3, -1))
    assert not torch.equal(ffn.eval()(x), ffn.linear2.bias.expand(3, -1))


class Exceptional(nn.Linear):
    """A layer with an exception of its own."""

    def reset_special_weights(self):
        nn.init.constant_(self.weight, 7.0)


def test_init_xavier_reaches_matrices_leaves_vectors_and_ends_with_the_exceptions():
    model = nn.Sequential(nn.Linear(30, 50), nn.Sequential(nn.LayerNorm(50), Exceptional(50, 2)))
    vectors = {name: p.clone() for name, p in model.named_parameters() if p.dim() == 1}
    init_xavier(model)
    bound = (6 / (30 + 50)) ** 0.5
    assert model[0].weight.abs().max().item() == pytest.approx(bound, rel=0.02)
    assert (model[1][1].weight == 7).all()
    for name, vector in vectors.items():
        assert torch.equal(model.get_parameter(name), vector)

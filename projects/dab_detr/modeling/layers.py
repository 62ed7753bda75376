"""Small layers that every part of the transformer is made of."""

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear layers with ReLU between them, none after the last: MLP(256, 256, 4) has two layers."""

    def __init__(self, *dims: int):
        layers = [m for a, b in zip(dims, dims[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
        super().__init__(*layers[:-1])


class FeedForward(nn.Module):
    """The position-wise part of a transformer layer: (..., dim) to (..., dim) over `hidden` channels."""

    def __init__(self, *, dim: int, hidden: int, activation: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(hidden, dim)

    def forward(self, content: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(content))))


def init_xavier(module: nn.Module, *, matrices: bool = True) -> None:
    """Xavier-uniform on every matrix below `module`, then each part's own exceptions (`reset_special_weights`).

    matrices: else they stay as they are, and only the exceptions are made.
    """
    for parameter in module.parameters():
        if matrices and parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        if hasattr(part, "reset_special_weights"):
            part.reset_special_weights()

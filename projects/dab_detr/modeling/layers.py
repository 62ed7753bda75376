"""Small layers that all parts of the transformer share."""

from torch import Tensor, nn

from .boxes import full_precision


class MLP(nn.Sequential):
    """Linear layers with ReLU between them but not after the last: MLP(256, 256, 4) has two layers."""

    def __init__(self, *dims: int):
        layers = [m for a, b in zip(dims, dims[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
        super().__init__(*layers[:-1])


class FeedForward(nn.Module):
    """The feed-forward network of a transformer layer: (..., dim) to (..., dim) through `hidden` channels."""

    def __init__(self, *, dim: int, hidden: int, activation: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(hidden, dim)

    def forward(self, content: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(content))))


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm that may leave the padding of a batch out of its statistics."""

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Normalize maps (B, C, h, w). Cells of `padding` (B, h, w), True where padded, do not count and become 0."""
        if padding is None:
            return super().forward(x)
        padding = padding[:, None, None]
        groups = full_precision(x).unflatten(1, (self.num_groups, -1)).masked_fill(padding, 0.0)
        count = (~padding).sum((2, 3, 4), keepdim=True).clamp(min=1) * groups.shape[2]
        centered = (groups - groups.sum((2, 3, 4), keepdim=True) / count).masked_fill(padding, 0.0)
        variance = centered.square().sum((2, 3, 4), keepdim=True) / count
        normalized = (centered * (variance + self.eps).rsqrt()).flatten(1, 2)
        out = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        return out.masked_fill(padding[:, 0], 0.0).to(x.dtype)


def init_xavier(module: nn.Module, *, matrices: bool = True) -> None:
    """Set every matrix below `module` to Xavier-uniform, then call `reset_special_weights` of each part.

    matrices: whether to set the matrices; otherwise only `reset_special_weights` is called.
    """
    for parameter in module.parameters():
        if matrices and parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        if hasattr(part, "reset_special_weights"):
            part.reset_special_weights()

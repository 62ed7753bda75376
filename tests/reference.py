"""DAB-DETR after the feature map, written a second time: plainly, from the description of the original.

It works on a state dict under the original's names, sequence first as the original, without modules, and knows every
option of the original, those that no golden case covers among them. It is slow and that is fine.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Reference:
    """Computes logits and boxes (layers, B, Q, ...) from `src` (B, C, H, W) and `mask` (B, H, W), True = padding."""

    def __init__(self, state: dict[str, Tensor], *, heads: int = 8, temperature: float = 20, **options):
        self.state, self.heads, self.temperature = state, heads, temperature
        self.query_dim = options.get("query_dim", 4)
        self.scale_type = options.get("query_scale_type", "cond_elewise")
        self.modulate = options.get("modulate_hw_attn", True) and self.query_dim == 4
        self.keep_query_pos = options.get("keep_query_pos", False)
        self.iter_update = options.get("iter_update", True)
        self.per_layer_heads = options.get("bbox_embed_diff_each_layer", False)
        self.activation = options.get("activation", "prelu")
        self.anchor_temperature = options.get("anchor_temperature", 10000)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def mlp(self, name: str, x: Tensor) -> Tensor:
        depth = sum(key.startswith(f"{name}.layers.") and key.endswith("weight") for key in self.state)
        for i in range(depth):
            x = self.linear(f"{name}.layers.{i}", x)
            x = x.relu() if i < depth - 1 else x
        return x

    def ffn(self, name: str, x: Tensor) -> Tensor:
        x = self.linear(f"{name}.linear1", x)
        x = x.relu() if self.activation == "relu" else F.prelu(x, self.state[f"{name}.activation.weight"])
        return self.linear(f"{name}.linear2", x)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(Q, B, E), (S, B, E), (S, B, C) to (Q, B, C), one image and one head after the other."""
        out = torch.empty(q.shape[0], q.shape[1], v.shape[2], dtype=v.dtype)
        parts = [x.chunk(self.heads, -1) for x in (q, k, v)]
        for b in range(q.shape[1]):
            results = []
            for qh, kh, vh in zip(*parts, strict=True):
                scores = qh[:, b] @ kh[:, b].T / math.sqrt(qh.shape[-1])
                if mask is not None:
                    scores = scores + torch.zeros_like(scores).masked_fill(mask[b], -math.inf)
                results.append(scores.softmax(-1) @ vh[:, b])
            out[:, b] = torch.cat(results, -1)
        return out

    def sine(self, x: Tensor, temperature: float) -> Tensor:
        """(..., D) coordinates, already times 2 pi, to (..., D * 128), in the order in which they come."""
        i = torch.arange(128)
        phase = x[..., None] / temperature ** (2 * (i // 2) / 128)
        return torch.where(i % 2 == 0, phase.sin(), phase.cos()).flatten(-2)

    def position_map(self, mask: Tensor) -> Tensor:
        y, x = (~mask).float().cumsum(1), (~mask).float().cumsum(2)
        y, x = y / (y[:, -1:] + 1e-6), x / (x[:, :, -1:] + 1e-6)
        return self.sine(torch.stack([y, x], -1) * 2 * math.pi, self.temperature).flatten(1, 2).transpose(0, 1)

    def encode(self, src: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        layers = 1 + max(int(k.split(".")[3]) for k in self.state if k.startswith("transformer.encoder.layers."))
        for i in range(layers):
            name = f"transformer.encoder.layers.{i}"
            scaled = pos * self.mlp("transformer.encoder.query_scale", src)
            weights = self.state[f"{name}.self_attn.in_proj_weight"].chunk(3)
            biases = self.state[f"{name}.self_attn.in_proj_bias"].chunk(3)
            inputs = (src + scaled, src + scaled, src)
            q, k, v = (F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
            src = self.norm(
                f"{name}.norm1", src + self.linear(f"{name}.self_attn.out_proj", self.attention(q, k, v, mask))
            )
            src = self.norm(f"{name}.norm2", src + self.ffn(name, src))
        return src

    def decoder_layer(self, i: int, tgt: Tensor, query_pos: Tensor, sine: Tensor, memory: tuple) -> Tensor:
        name = f"transformer.decoder.layers.{i}"
        mem, pos, mask = memory
        q = self.linear(f"{name}.sa_qcontent_proj", tgt) + self.linear(f"{name}.sa_qpos_proj", query_pos)
        k = self.linear(f"{name}.sa_kcontent_proj", tgt) + self.linear(f"{name}.sa_kpos_proj", query_pos)
        update = self.attention(q, k, self.linear(f"{name}.sa_v_proj", tgt))
        tgt = self.norm(f"{name}.norm1", tgt + self.linear(f"{name}.self_attn.out_proj", update))
        q, k = self.linear(f"{name}.ca_qcontent_proj", tgt), self.linear(f"{name}.ca_kcontent_proj", mem)
        kp = self.linear(f"{name}.ca_kpos_proj", pos)
        if i == 0 or self.keep_query_pos:
            q, k = q + self.linear(f"{name}.ca_qpos_proj", query_pos), k + kp
        qs = self.linear(f"{name}.ca_qpos_sine_proj", sine)
        q, k = (self.per_head(a, b) for a, b in ((q, qs), (k, kp)))
        update = self.attention(q, k, self.linear(f"{name}.ca_v_proj", mem), mask)
        tgt = self.norm(f"{name}.norm2", tgt + self.linear(f"{name}.cross_attn.out_proj", update))
        return self.norm(f"{name}.norm3", tgt + self.ffn(name, tgt))

    def per_head(self, content: Tensor, position: Tensor) -> Tensor:
        pairs = zip(content.chunk(self.heads, -1), position.chunk(self.heads, -1), strict=True)
        return torch.cat([torch.cat(pair, -1) for pair in pairs], -1)

    def box_delta(self, i: int, x: Tensor) -> Tensor:
        return self.mlp(f"bbox_embed.{i}" if self.per_layer_heads else "bbox_embed", x)

    def shift(self, delta: Tensor, reference: Tensor) -> Tensor:
        x = reference.clamp(0, 1)
        logit = torch.log(x.clamp(min=1e-3) / (1 - x).clamp(min=1e-3))
        return (delta + F.pad(logit, (0, 4 - self.query_dim))).sigmoid()

    def scale(self, i: int, output: Tensor) -> Tensor | float:
        if self.scale_type == "fix_elewise":
            return self.state["transformer.decoder.query_scale.weight"][i]
        return self.mlp("transformer.decoder.query_scale", output) if i > 0 else 1.0

    def spatial(self, i: int, output: Tensor, reference: Tensor, sine: Tensor) -> Tensor:
        y, x = (sine[..., :256] * self.scale(i, output)).chunk(2, -1)
        if self.modulate:
            ref_w, ref_h = self.mlp("transformer.decoder.ref_anchor_head", output).sigmoid().unbind(-1)
            w, h = reference[..., 2], reference[..., 3]
            y, x = y * (ref_h / h)[..., None], x * (ref_w / w)[..., None]
        return torch.cat([y, x], -1)

    def queries(self, batch: int) -> tuple[Tensor, Tensor]:
        anchors = self.state["refpoint_embed.weight"]
        content = torch.zeros(len(anchors), 256)
        if "transformer.patterns.weight" in self.state:
            patterns = self.state["transformer.patterns.weight"]
            content = torch.cat([p.expand(len(anchors), -1) for p in patterns])
            anchors = torch.cat([anchors] * len(patterns))
        return (x[:, None].repeat(1, batch, 1) for x in (content, anchors.sigmoid()))

    def __call__(self, src: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        src = F.conv2d(src, self.state["input_proj.weight"], self.state["input_proj.bias"])
        pos, mask_flat = self.position_map(mask), mask.flatten(1)
        memory = (self.encode(src.flatten(2).permute(2, 0, 1), pos, mask_flat), pos, mask_flat)
        output, anchors = self.queries(len(mask))
        layers = 1 + max(int(k.split(".")[3]) for k in self.state if k.startswith("transformer.decoder.layers."))
        logits, boxes, reference = [], [], anchors
        for i in range(layers):
            order = [1, 0, 2, 3][: self.query_dim]
            sine = self.sine(anchors[..., order] * 2 * math.pi, self.anchor_temperature)
            query_pos = self.mlp("transformer.decoder.ref_point_head", sine)
            output = self.decoder_layer(i, output, query_pos, self.spatial(i, output, anchors, sine), memory)
            hidden = self.norm("transformer.decoder.norm", output)
            logits.append(self.linear("class_embed", hidden))
            boxes.append(self.shift(self.box_delta(i, hidden), reference))
            if self.iter_update:
                reference = self.shift(self.box_delta(i, output), anchors)[..., : self.query_dim]
                anchors = reference.detach()
        return torch.stack(logits).transpose(1, 2), torch.stack(boxes).transpose(1, 2)

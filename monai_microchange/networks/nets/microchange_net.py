# SPDX-License-Identifier: Apache-2.0
"""The change network: siamese encoder, temporal differences, attention, and a decoder that runs both ways in time."""

from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

from monai_microchange.networks.blocks import (
    AdditiveAttentionGate,
    ChannelAttentionResBlock,
    GridSelfAttention,
    PyramidPooling,
    SharedDropout,
    TemporalDifference,
)

__all__ = ["NETWORK_PARTS", "MicroChangeNet"]

NETWORK_PARTS = (
    "difference",
    "channel_attention",
    "attention_gates",
    "pyramid_pooling",
    "self_attention",
    "deep_supervision",
)
"""Parts that `MicroChangeNet(without=...)` can leave out."""


class DecoderStage(nn.Module):
    """One step up: enlarge the coarser features, weigh the skip connection by them, fuse both.

    Args:
        spatial_dims: 2 or 3.
        coarse_channels: channels of the coarser scale.
        channels: channels of this scale.
        gated: whether the skip connection passes an attention gate.
        channel_attention: whether the fused channels are weighed.
    """

    gated: torch.jit.Final[bool]

    def __init__(self, spatial_dims: int, coarse_channels: int, channels: int, *, gated: bool, channel_attention: bool):
        super().__init__()
        self.gated = gated
        self.reduce = Conv[Conv.CONV, spatial_dims](coarse_channels, channels, kernel_size=1)
        self.gate = AdditiveAttentionGate(spatial_dims, channels, channels) if gated else nn.Identity()
        self.fuse = ChannelAttentionResBlock(spatial_dims, channels, channels, channel_attention=channel_attention)

    def enlarge(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Bring the coarser features onto the grid of `skip`, whatever its size."""
        return F.interpolate(self.reduce(coarse), size=skip.shape[2:], mode="nearest")

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Fuse (B, coarse_channels, *coarse) with (B, channels, *spatial) into (B, channels, *spatial)."""
        gate = self.enlarge(coarse, skip)
        if self.gated:
            skip = self.gate(skip, gate)
        return self.fuse(skip + gate)


class MicroChangeNet(nn.Module):
    """Tell gained from lost lesion between two visits, equally well in both directions of time.

    One encoder reads both visits. At each scale a temporal difference fuses their features; one decoder D runs over
    these in both directions of time as one batch. The score `s = D(baseline, followup) - D(followup, baseline)` changes
    its sign when the visits are exchanged, the margin `m > 0` does not, and the logits are `[0, s - m, -s - m]` for
    {none, gain, loss}. So exchanging the visits exchanges gain and loss, and two identical visits give none, whatever
    the weights.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of both visits together: C of the baseline, then C of the follow-up.
        out_channels: 3, the classes none, gain, loss. Given because bundle tools ask for it.
        channels: features at each scale, finest first; each scale halves the grid.
        dropout: share of channels dropped at the bottleneck while training.
        without: parts to leave out, of `NETWORK_PARTS`.

    Raises:
        ValueError: if `in_channels` is odd, `out_channels` is not 3, there are fewer than two scales, or a part is
            unknown; when called, if the image is so small that its coarsest scale is a single voxel.

    Example:
        >>> net = MicroChangeNet(spatial_dims=2, in_channels=2, channels=(4, 8, 8)).eval()
        >>> baseline, followup = torch.rand(1, 1, 17, 12), torch.rand(1, 1, 17, 12)
        >>> logits = net(torch.cat([baseline, followup], dim=1))
        >>> logits.shape
        torch.Size([1, 3, 17, 12])
        >>> swapped = net(torch.cat([followup, baseline], dim=1))
        >>> bool(torch.allclose(swapped[:, [0, 2, 1]], logits, atol=1e-5))
        True
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 2,
        out_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64, 96),
        *,
        dropout: float = 0.0,
        without: Sequence[str] = (),
    ):
        super().__init__()
        _check_arguments(in_channels, out_channels, channels, without)
        attention = "channel_attention" not in without
        self.visit_channels = in_channels // 2
        widths = list(channels)
        self.encoder = nn.ModuleList(
            ChannelAttentionResBlock(spatial_dims, come, go, stride=1 if i == 0 else 2, channel_attention=attention)
            for i, (come, go) in enumerate(zip([self.visit_channels, *widths[:-1]], widths, strict=True))
        )
        self.differences = nn.ModuleList(
            TemporalDifference(spatial_dims, width, difference="difference" not in without) for width in widths
        )
        bottleneck: list[nn.Module] = [SharedDropout(dropout)]
        if "pyramid_pooling" not in without:
            bottleneck.append(PyramidPooling(spatial_dims, widths[-1]))
        if "self_attention" not in without:
            bottleneck.append(GridSelfAttention(spatial_dims, widths[-1]))
        self.bottleneck = nn.Sequential(*bottleneck)
        gated = "attention_gates" not in without
        self.decoder = nn.ModuleList(
            DecoderStage(spatial_dims, coarse, fine, gated=gated, channel_attention=attention)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        # score and margin; finest scale last, as the decoder makes them
        supervised = widths[-2::-1] if "deep_supervision" not in without else widths[:1]
        self.heads = nn.ModuleList(Conv[Conv.CONV, spatial_dims](width, 2, kernel_size=1) for width in supervised)

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of change (2 * B, width, *spatial / 2**i), finest first; the second half runs back in time."""
        visits = torch.cat([x[:, : self.visit_channels], x[:, self.visit_channels :]])
        changes: list[torch.Tensor] = []
        for stage, difference in zip(self.encoder, self.differences, strict=True):
            visits = stage(visits)
            baseline, followup = visits.chunk(2)
            changes.append(difference(visits, torch.cat([followup, baseline])))
        return changes

    def decode(self, changes: list[torch.Tensor]) -> list[torch.Tensor]:
        """Decoder features (2 * B, width, *spatial / 2**i), coarsest first, without the bottleneck's own."""
        coarse = self.bottleneck(changes[-1])
        features: list[torch.Tensor] = []
        for i, stage in enumerate(self.decoder):
            coarse = stage(coarse, changes[len(changes) - 2 - i])
            features.append(coarse)
        return features

    def forward_scales(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits (B, 3, *spatial / 2**i) at each scale, finest first; only the finest without deep supervision."""
        features = self.decode(self.encode(x))
        scales: list[torch.Tensor] = []
        for i, head in enumerate(self.heads):
            scales.append(antisymmetric_logits(head(features[len(features) - len(self.heads) + i])))
        scales.reverse()
        return scales

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map both visits (B, in_channels, *spatial), baseline first, to logits (B, 3, *spatial): none, gain, loss."""
        features = self.decode(self.encode(x))
        logits = features[-1]
        for i, head in enumerate(self.heads):
            if i == len(self.heads) - 1:
                logits = antisymmetric_logits(head(features[-1]))
        return logits

    def attention_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Attention (2 * B, 1, *spatial / 2**i) of each gate, finest first; the second half runs back in time.

        Empty without attention gates.
        """
        changes = self.encode(x)
        coarse = self.bottleneck(changes[-1])
        maps: list[torch.Tensor] = []
        for module, skip in zip(self.decoder, changes[-2::-1], strict=True):
            stage = cast(DecoderStage, module)
            if stage.gated:
                gate = cast(AdditiveAttentionGate, stage.gate)
                maps.insert(0, gate.weights(skip, cast(DecoderStage, stage).enlarge(coarse, skip)))
            coarse = stage(coarse, skip)
        return maps


def antisymmetric_logits(both_directions: torch.Tensor) -> torch.Tensor:
    """Logits {none, gain, loss} from score and margin of both directions of time.

    Args:
        both_directions: (2 * B, 2, *spatial): the first half runs from baseline to follow-up, the second half back.

    Returns:
        `[0, s - m, -s - m]`, (B, 3, *spatial), float32.

    Example:
        >>> logits = antisymmetric_logits(torch.tensor([[[3.0], [0.0]], [[1.0], [0.0]]]))
        >>> [round(float(logit), 2) for logit in logits.flatten()]
        [0.0, 1.31, -2.69]
    """
    forth, back = both_directions.float().chunk(2)
    score = forth[:, :1] - back[:, :1]
    margin = F.softplus(forth[:, 1:] + back[:, 1:])
    return torch.cat([torch.zeros_like(score), score - margin, -score - margin], dim=1)


def _check_arguments(in_channels: int, out_channels: int, channels: Sequence[int], without: Sequence[str]) -> None:
    if in_channels < 2 or in_channels % 2:
        raise ValueError(f"in_channels must be even, the same number for each visit; got {in_channels}")
    if out_channels != 3:
        raise ValueError(f"out_channels must be 3 (none, gain, loss); got {out_channels}")
    if len(channels) < 2:
        raise ValueError(f"channels needs at least two scales; got {tuple(channels)}")
    unknown = set(without) - set(NETWORK_PARTS)
    if unknown:
        raise ValueError(f"without names unknown parts {sorted(unknown)}; known are {NETWORK_PARTS}")

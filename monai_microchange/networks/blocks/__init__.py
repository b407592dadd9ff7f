# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the change network, in two and three dimensions."""

from monai_microchange.networks.blocks.attention_gate import AdditiveAttentionGate
from monai_microchange.networks.blocks.channel_attention import ChannelAttentionResBlock
from monai_microchange.networks.blocks.pyramid_pooling import PyramidPooling
from monai_microchange.networks.blocks.self_attention import GridSelfAttention
from monai_microchange.networks.blocks.shared_dropout import SharedDropout
from monai_microchange.networks.blocks.temporal_difference import TemporalDifference

__all__ = [
    "AdditiveAttentionGate",
    "ChannelAttentionResBlock",
    "GridSelfAttention",
    "PyramidPooling",
    "SharedDropout",
    "TemporalDifference",
]

# SPDX-License-Identifier: Apache-2.0
"""Whole networks."""

from monai_microchange.networks.nets.microchange_net import NETWORK_PARTS, MicroChangeNet

__all__ = ["NETWORK_PARTS", "MicroChangeNet"]

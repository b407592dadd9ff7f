# SPDX-License-Identifier: Apache-2.0
"""How a network is led over a whole pair."""

from monai_microchange.inferers.pair_sliding_window import PairSlidingWindow

__all__ = ["PairSlidingWindow"]

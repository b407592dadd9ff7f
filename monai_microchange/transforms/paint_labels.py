# SPDX-License-Identifier: Apache-2.0
"""Paint an anatomical label map with random contrast, so that a network trained on it reads any sequence."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from scipy import ndimage as ndi

__all__ = ["RandPaintLabelsd", "paint_labels"]


def paint_labels(labels: torch.Tensor, means: np.ndarray, deviations: np.ndarray, noise: torch.Tensor) -> torch.Tensor:
    """Give each label its own grey value with its own graininess.

    Args:
        labels: label map (1, *spatial), whole numbers from 0 to `len(means) - 1`.
        means: grey value of each label (L,).
        deviations: standard deviation of each label's texture (L,).
        noise: standard normal noise (1, *spatial).

    Returns:
        Image (1, *spatial), float32.

    Raises:
        ValueError: if a label has no grey value.

    Example:
        >>> labels = torch.tensor([[[[0, 1]]]])
        >>> paint_labels(labels, np.array([0.0, 5.0]), np.zeros(2), torch.zeros(1, 1, 1, 2)).flatten().tolist()
        [0.0, 5.0]

    Source: Billot et al., 2023, SynthSeg, doi 10.1016/j.media.2023.102789 (a Gaussian per label, redrawn per image).
    """
    index = labels.long()
    if int(index.max()) >= len(means):
        raise ValueError(f"label {int(index.max())} has no grey value: got {len(means)} means; map the labels first")
    mean = torch.as_tensor(means, dtype=torch.float32)[index]
    deviation = torch.as_tensor(deviations, dtype=torch.float32)[index]
    return mean + deviation * noise


class RandPaintLabelsd(MapTransform, Randomizable):
    """Add an image of random contrast painted on a label map.

    Most images get a FLAIR-like order of grey values (`typical_prob`), the others any. Bright or dark blobs are put
    into the label `lesion_site` (white matter), so that the network learns to look past lesions; sometimes all that is
    not brain is erased, so that it also reads skull-stripped scans.

    Args:
        keys: the label map, (1, *spatial), whole numbers below `n_labels`.
        image_key: where the image goes.
        n_labels: how many labels there are.
        flair_means: typical grey value of each label in FLAIR (n_labels,).
        lesion_site: label into which lesions are painted.
        brain_labels: labels that skull-stripping keeps.
        strip_prob: how often all else is erased.
        typical_prob: how often the grey values are near `flair_means`; the others are any.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str,
        n_labels: int,
        flair_means: list[float],
        lesion_site: int,
        brain_labels: list[int],
        strip_prob: float = 0.25,
        typical_prob: float = 0.85,
    ):
        super().__init__(keys)
        if len(flair_means) != n_labels:
            raise ValueError(f"flair_means needs {n_labels} values, one for each label; got {len(flair_means)}")
        self.image_key = image_key
        self.n_labels = n_labels
        self.flair_means = np.asarray(flair_means, dtype=float)
        self.lesion_site = lesion_site
        self.brain_labels = list(brain_labels)
        self.strip_prob = strip_prob
        self.typical_prob = typical_prob

    def randomize(self, shape: tuple[int, ...]) -> None:
        """Draw contrast, texture, lesions and skull-stripping for one image of this shape (1, *spatial)."""
        draw = self.R
        if draw.random() < self.typical_prob:
            tissue = self.flair_means > 0
            self._means = self.flair_means + draw.normal(0, 0.03, self.n_labels) * tissue
            outside = np.setdiff1d(np.flatnonzero(tissue), self.brain_labels)
            self._means[outside] = draw.uniform(0, 1, len(outside))
        else:
            self._means = draw.uniform(0, 1, self.n_labels)
        self._deviations = draw.uniform(0, 0.06, self.n_labels)
        self._noise = draw.normal(size=shape).astype(np.float32)
        field = ndi.gaussian_filter(draw.normal(size=shape[1:]).astype(np.float32), draw.uniform(0.8, 2.0))
        self._lesion_field = field / field.std()
        self._lesion_threshold = draw.uniform(2.0, 4.0)
        self._lesion_grey = self._means[self.lesion_site] * draw.uniform(0.9, 2.0)
        self._strip_margin = int(draw.randint(0, 3))
        self._strip = draw.random() < self.strip_prob

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return a copy of `data` with the painted image added under `image_key`."""
        out = dict(data)
        for key in self.key_iterator(out):
            labels = out[key]
            self.randomize(tuple(labels.shape))
            plain = torch.as_tensor(np.asarray(labels))
            image = paint_labels(plain, self._means, self._deviations, torch.from_numpy(self._noise))
            lesions = (plain[0] == self.lesion_site) & (torch.from_numpy(self._lesion_field) > self._lesion_threshold)
            image[0][lesions] = float(self._lesion_grey)
            if self._strip:
                brain = np.isin(plain[0].numpy(), self.brain_labels)
                if self._strip_margin:
                    brain = ndi.binary_dilation(brain, iterations=self._strip_margin)
                image[0][torch.from_numpy(~brain)] = 0.0
            out[self.image_key] = image
        return out

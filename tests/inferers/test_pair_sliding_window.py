# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from monai_microchange.inferers import PairSlidingWindow
from monai_microchange.networks.nets import MicroChangeNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MicroChangeNet(in_channels=2, channels=(4, 8)).eval()


def pair(shape=(26, 30, 22), box=(slice(4, 20), slice(5, 28), slice(3, 19))):
    image = torch.zeros(1, 2, *shape)
    image[(slice(None), slice(None), *box)] = torch.rand(1, 2, *(s.stop - s.start for s in box)) + 0.1
    return image, box


def test_inside_the_box_it_is_monais_sliding_window(network):
    image, box = pair()
    inside = (slice(None), slice(None), *box)
    with torch.inference_mode():
        logits = PairSlidingWindow((16, 16, 16), precision="float32")(image, network)
        plain = SlidingWindowInferer((16, 16, 16), overlap=0.25, mode="gaussian", sigma_scale=0.25)
        expected = plain(image[inside], network)
    torch.testing.assert_close(logits[inside], expected)


def test_outside_the_box_nothing_changes(network):
    image, box = pair()
    with torch.inference_mode():
        logits = PairSlidingWindow((16, 16, 16))(image, network)
    outside = torch.ones(image.shape[2:], dtype=torch.bool)
    outside[box] = False
    assert (logits[0].softmax(dim=0)[1:, outside] < 1e-6).all()


@pytest.mark.parametrize("corner", [(0, 0, 0), (21, 25, 17)])
def test_box_smaller_than_a_window_is_widened_within_the_image(corner):
    image = torch.zeros(1, 2, 26, 30, 22)
    image[:, :, corner[0] : corner[0] + 5, corner[1] : corner[1] + 5, corner[2] : corner[2] + 5] = 1.0
    seen = []

    def network(window):
        seen.append(tuple(window.shape[2:]))
        return torch.cat([window[:, :1], window], dim=1)

    logits = PairSlidingWindow((16, 16, 16))(image, network)
    assert set(seen) == {(16, 16, 16)}
    assert float(logits[(0, 1, *corner)]) == pytest.approx(1.0)


def test_empty_pair_is_not_looked_at():
    def network(_):
        raise RuntimeError("called")

    logits = PairSlidingWindow((8, 8, 8))(torch.zeros(1, 2, 12, 12, 12), network)
    assert (logits.argmax(dim=1) == 0).all()


def test_progress_rises_to_the_whole(network):
    image, _ = pair()
    shares = []
    with torch.inference_mode():
        PairSlidingWindow((16, 16, 16))(image, network, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 1


def test_exchanging_the_visits_exchanges_gain_and_loss(network):
    image, _ = pair()
    inferer = PairSlidingWindow((16, 16, 16))
    with torch.inference_mode():
        forth, back = inferer(image, network), inferer(image.flip(1), network)
    torch.testing.assert_close(back[:, [0, 2, 1]], forth, atol=1e-5, rtol=1e-4)


def test_windows_that_hold_nothing_are_not_looked_at():
    image = torch.zeros(1, 2, 32, 8, 8)
    image[:, :, 0], image[:, :, -1] = 1.0, 1.0
    seen, told = [], []

    def network(window):
        seen.append(window)
        return torch.cat([window[:, :1], window], dim=1)

    logits = PairSlidingWindow((8, 8, 8), overlap=0.0)(image, network, progress=told.append)
    assert len(seen) == 2
    assert told == [0.25, 0.5, 0.75, 1.0]
    assert (logits[:, 1:, 8:24] < -19.9).all()


def test_precisions_agree_and_keep_the_swap_exact(network):
    image, box = pair()
    with torch.inference_mode():
        exact = PairSlidingWindow((16, 16, 16), precision="float32")(image, network)
        short = PairSlidingWindow((16, 16, 16), precision="bfloat16")(image, network)
        swapped = PairSlidingWindow((16, 16, 16), precision="bfloat16")(image.flip(1), network)
    inside = (slice(None), slice(None), *box)
    assert not torch.equal(exact, short)
    torch.testing.assert_close(exact[inside], short[inside], atol=0.2, rtol=0)
    torch.testing.assert_close(short[:, [0, 2, 1]], swapped, atol=1e-3, rtol=0)


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16; got 'half'"):
        PairSlidingWindow((8, 8, 8), precision="half")

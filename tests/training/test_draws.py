# SPDX-License-Identifier: Apache-2.0
"""A draw is what its number says; the numbers of all processes are those of one."""

import copy

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, MapTransform, RandGaussianNoised, RandSpatialCropSamplesd

from monai_microchange.training import DrawNumbers, DrawSource, NumberedDraws
from monai_microchange.training.keep import hash_transforms


class Read(MapTransform):
    """Stands for a costly preparation, and counts."""

    def __init__(self, keys):
        super().__init__(keys)
        self.count = 0

    def __call__(self, data):
        self.count += 1
        return {**data, "x": torch.full((1, 8), float(data["x"]))}


class Applies(MapTransform):
    """Holds a network, as the anatomy's transform does."""

    def __init__(self, network):
        super().__init__("x")
        self.network = network

    def __call__(self, data):
        return {**data, "x": self.network(data["x"])}


def source(values=(0.0, 1.0), share=1.0, **options):
    draw = Compose([RandGaussianNoised("x", prob=1.0, std=0.01), RandSpatialCropSamplesd("x", [4], num_samples=2)])
    return DrawSource([{"x": value} for value in values], Compose([Read("x")]), draw, share=share, **options)


def patches(draws, number):
    return torch.stack([torch.as_tensor(patch["x"]) for patch in draws[number]])


def test_a_number_says_all_whatever_was_drawn_before():
    one, other = NumberedDraws([source()], seed=3), NumberedDraws([source()], seed=3)
    expected = [patches(one, number) for number in range(6)]
    for number in (5, 2, 2, 0):
        assert torch.equal(patches(other, number), expected[number])
    assert not torch.equal(expected[0], expected[1])


def test_another_seed_gives_other_draws():
    assert not torch.equal(patches(NumberedDraws([source()], seed=3), 0), patches(NumberedDraws([source()], seed=4), 0))


def test_a_worker_draws_the_same_as_the_process_itself():
    draws = NumberedDraws([source()], seed=3)
    loader = DataLoader(draws, sampler=DrawNumbers(3, 2), batch_size=2, num_workers=1)
    for step, batch in enumerate(loader):
        expected = torch.cat([patches(draws, 2 * step), patches(draws, 2 * step + 1)])
        assert torch.equal(torch.as_tensor(batch["x"]), expected)


def test_the_shares_are_those_asked_for():
    draws = NumberedDraws([source([0.0], 1.0), source([10.0], 3.0), source([])], seed=0)
    from_second = np.mean([float(patches(draws, number).mean()) > 5 for number in range(200)])
    assert abs(from_second - 0.75) < 3 * np.sqrt(0.75 * 0.25 / 200)


def test_items_are_prepared_once():
    read = Read("x")
    draws = NumberedDraws([DrawSource([{"x": 1.0}], Compose([read]), Compose([]))], seed=0)
    for number in range(3):
        assert torch.equal(draws[number]["x"], torch.ones(1, 8))
    assert read.count == 1


def test_prepared_items_are_kept_on_disk_until_a_file_changes(tmp_path):
    """The third run finds another file under the old name."""
    counts = []
    for content in ("a", "a", "b"):
        (tmp_path / "1.0").write_text(content)
        read = Read("x")
        item = {"x": "1.0"}
        kept = DrawSource([item], Compose([read]), Compose([]), root=tmp_path, cache_dir=tmp_path / "kept")
        assert torch.equal(NumberedDraws([kept], seed=0)[0]["x"], torch.ones(1, 8))
        counts.append(read.count)
    assert counts == [1, 0, 1]


def test_networks_are_known_by_their_weights():
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    same = copy.deepcopy(one)
    same.weight.requires_grad_(False)
    assert hash_transforms([Applies(one)]) == hash_transforms([Applies(same)])
    assert hash_transforms([Applies(one)]) != hash_transforms([Applies(other)])


def test_a_source_without_share_is_neither_prepared_nor_counted(tmp_path):
    (tmp_path / "scan").write_text("x")
    idle = DrawSource([{"x": "scan"}], Compose([Read("x")]), Compose([]), share=0.0, root=tmp_path)
    assert (len(idle.prepared), idle.inputs) == (0, {})


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="nothing to draw from"):
        NumberedDraws([source([]), source(share=0.0)], seed=0)
    with pytest.raises(ValueError, match="share must not be negative; got -1"):
        source(share=-1)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_each_batch(processes):
    ranks = [list(DrawNumbers(4, 6, rank=rank, processes=processes)) for rank in range(processes)]
    own = 6 // processes
    together = [n for step in range(4) for rank in ranks for n in rank[step * own : (step + 1) * own]]
    assert together == list(range(24))


def test_a_run_goes_on_with_the_numbers_that_are_left():
    whole, rest = DrawNumbers(5, 2, rank=1, processes=2), DrawNumbers(5, 2, rank=1, processes=2)
    rest.first_step = 3
    assert list(rest) == list(whole)[3:]
    assert (len(whole), len(rest)) == (5, 2)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="multiple of the number of processes, 2; got 3"):
        DrawNumbers(5, 3, rank=0, processes=2)

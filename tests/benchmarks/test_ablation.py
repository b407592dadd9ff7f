# SPDX-License-Identifier: Apache-2.0
"""The parts of the ablation on made-up patches and blocks: kept draws, variants, the budget, scores and the table."""

import doctest
import importlib
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from monai_microchange.enums import ChangeLabel

CHANNELS = (8, 12, 16, 20)


@pytest.fixture
def part(monkeypatch, request):
    """Import a part of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def variants(part):
    return part("_ablation_variants")


@pytest.fixture
def recipe(variants):
    return variants.TrainingRecipe(4, CHANNELS, 0.1, 0.01, 0.1, 1e-4, 0.9, 1.0)


def made_up_label(shape=(16, 16, 16)):
    """A gained cube, a lost one, and some that nobody could judge."""
    label = np.zeros(shape, dtype=np.uint8)
    label[2:5, 2:5, 2:5] = ChangeLabel.GAIN
    label[9:12, 9:12, 9:12] = ChangeLabel.LOSS
    label[2:5, 9:12, 2:5] = ChangeLabel.UNKNOWN
    return label


class MadeUpDraws:
    """Stands for the draws of patches, and counts them."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, number):
        self.asked.append(number)
        label = torch.from_numpy(made_up_label())[None].float()
        image = torch.full((4, 16, 16, 16), float(number))
        image[2] += 1.0 * (label[0] == ChangeLabel.GAIN) - 1.0 * (label[0] == ChangeLabel.LOSS)
        return [{"image": image, "label": label}] * 2


class MadeUpBlocks:
    """Stands for the draws of blocks."""

    def pairs(self, count, *, changes, seed):
        for number in range(count):
            label = made_up_label() if changes else np.zeros((16, 16, 16), np.uint8)
            yield torch.full((4, 16, 16, 16), 1.0 + number), label


@pytest.fixture
def kept(part, tmp_path):
    """Three draws, two blocks with change and one without."""
    kept = part("_ablation_data").KeptDraws(tmp_path / "kept", {"seed": 1})
    for _ in kept.keep_patches(3, MadeUpDraws):
        pass
    for count, changes in ((2, True), (1, False)):
        for _ in kept.keep_blocks(count, changes=changes, draws=MadeUpBlocks):
            pass
    return kept


@pytest.mark.parametrize("name", ["_ablation_variants", "_ablation_scores", "_ablation_results"])
def test_the_examples_run(part, name):
    outcome = doctest.testmod(part(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


# draws


def test_what_is_kept_is_not_drawn_again(kept):
    more = MadeUpDraws()
    assert len(list(kept.keep_patches(5, lambda: more))) == 5
    assert more.asked == [3, 4]
    for steps in (kept.keep_patches(5, pytest.fail), kept.keep_blocks(2, changes=True, draws=pytest.fail)):
        assert len(list(steps)) in (5, 2)


def test_all_draws_come_once_a_turn_in_an_order_of_the_seed(kept):
    def order(seed):
        return [int(batch["image"][0, 0, 0, 0, 0]) for batch in itertools.islice(kept.batches(3, seed=seed), 12)]

    assert all(sorted(order(0)[turn : turn + 3]) == [0, 1, 2] for turn in (0, 3, 6, 9))
    assert order(0) == order(0)
    assert any(order(seed) != order(0) for seed in (1, 2, 3))
    batch = next(kept.batches(3, seed=0))
    assert batch["image"].shape == (2, 4, 16, 16, 16)
    assert batch["label"].shape == (2, 1, 16, 16, 16)
    assert {value.dtype for value in batch.values()} == {torch.float32}


def test_blocks_come_back_as_they_were_drawn(kept):
    blocks = list(kept.blocks(2, 1))
    assert [block.changes for block in blocks] == [True, True, False]
    assert [float(block.image.mean()) for block in blocks] == [1.0, 2.0, 1.0]
    np.testing.assert_array_equal(blocks[0].label, made_up_label())


def test_draws_of_other_settings_are_not_mixed(part, kept):
    data = part("_ablation_data")
    assert data.KeptDraws(kept.folder, {"seed": 1}).sha256 == kept.sha256
    with pytest.raises(ValueError, match="holds draws of other settings"):
        data.KeptDraws(kept.folder, {"seed": 2})


def test_nothing_that_is_learnt_from_is_scored(part):
    data = part("_ablation_data")
    parser = data.read_config(SimpleNamespace(data="nowhere", scans=None, channels=None))
    assert not {scan["image"] for scan in parser["scans"]} & {scan["image"] for scan in data.HELD_OUT}
    json.dumps(data.origin_of(parser))


def test_the_recipe_is_that_of_the_training(part, variants):
    parser = part("_ablation_data").read_config(SimpleNamespace(data="nowhere", scans=1, channels=CHANNELS))
    recipe = variants.TrainingRecipe.read(parser)
    assert recipe.channels == CHANNELS
    assert recipe.learning_rate == parser["learning_rate"]
    assert 0 < recipe.warmup_share < 0.5


# variants and training


def test_each_variant_gives_one_grid_of_logits_in_training_and_after(variants, recipe):
    x, sizes = torch.rand(1, 4, 16, 16, 16), {}
    for name in variants.VARIANTS:
        network = variants.build_variant(name, recipe, seed=0)
        assert network.train()(x).shape == network.eval()(x).shape == (1, 3, 16, 16, 16), name
        sizes[name] = variants.n_parameters(network)
    for name in variants.EARLY_FUSION:
        assert sizes[name] == pytest.approx(sizes["full"], rel=0.05)
    assert all(sizes[name] < sizes["full"] for name in sizes if name.startswith("without") and "difference" not in name)
    with pytest.raises(ValueError, match="expected a variant of full"):
        variants.build_variant("without_all", recipe, seed=0)


def test_widths_of_an_equal_size(variants):
    """In the proportion 1 : 2, three times the width gives the size."""
    assert variants._equal_widths(sum, (10, 20), 63) == [21, 42]
    for target in (1, 10_000):
        with pytest.raises(ValueError, match=f"no widths give {target} parameters within 5%"):
            variants._equal_widths(sum, (10, 20), target)


@pytest.mark.parametrize("name", ["full", "without_deep_supervision", "dynunet"])
def test_a_seed_gives_the_same_weights(variants, recipe, name):
    first, same, other = (variants.build_variant(name, recipe, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["full", "dynunet"])
def test_training_stops_at_its_budget(part, variants, recipe, kept, monkeypatch, name):
    """Each reading of the clock finds 2 s gone; so 10 s are used up after five steps."""
    training = part("_ablation_training")
    clock = itertools.count(step=2.0)
    monkeypatch.setattr(training, "time", SimpleNamespace(process_time=lambda: next(clock)))
    used = []
    network = variants.build_variant(name, recipe, seed=0)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    trained = training.train_within(10.0, network, kept.batches(3, seed=0), recipe, seed=0, watch=used.append)
    assert (trained.steps, trained.cpu_s, used) == (5, 10.0, [2.0, 4.0, 6.0, 8.0, 10.0])
    assert np.isfinite(trained.last_loss)
    assert not trained.network.training
    assert any(not torch.equal(a, b) for a, b in zip(before, trained.network.parameters(), strict=True))
    with pytest.raises(ValueError, match="budget_s must be above 0"):
        training.train_within(0.0, network, kept.batches(3, seed=0), recipe, seed=0)


# scores


class Oracle(torch.nn.Module):
    """Logits that say of each voxel what they are told, inside a window padded to any size."""

    def __init__(self, label, none=5.0):
        super().__init__()
        self.label, self.none = torch.from_numpy(label), none

    def forward(self, x):
        logits = torch.zeros(len(x), 3, *x.shape[2:])
        logits[:, 0] = self.none
        start = [(n - 16) // 2 for n in x.shape[2:]]
        inside = tuple(slice(a, a + 16) for a in start)
        for code in (ChangeLabel.GAIN, ChangeLabel.LOSS):
            logits[(slice(None), int(code), *inside)] = 10.0 * (self.label == code)
        return logits


def score(part, label, kept):
    return part("_ablation_scores").score_network(Oracle(label), kept.blocks(2, 0))


def test_what_is_right_scores_1_whatever_is_said_where_nobody_judged(part, kept):
    label = made_up_label()
    told = np.where(label == ChangeLabel.UNKNOWN, np.uint8(ChangeLabel.GAIN), label)
    for said in (label, told):
        scores = score(part, said, kept)
        assert (scores.dice, scores.f1) == (1.0, 1.0)
        assert scores.average_precision == pytest.approx(1.0)
        assert np.isnan(scores.false_per_stable)


def test_exchanged_directions_score_0(part, kept):
    label = made_up_label()
    swapped = np.choose(label, [0, 2, 1, 3, 4]).astype(np.uint8)
    scores = score(part, swapped, kept)
    assert (scores.dice, scores.f1) == (0.0, 0.0)


def test_lesions_in_a_stable_block_are_counted(part, kept):
    """Three of them: gain, loss, and the one of which only blocks with change know that nobody judged it."""
    label = made_up_label()
    told = np.where(label == ChangeLabel.UNKNOWN, np.uint8(ChangeLabel.GAIN), label)
    scores = part("_ablation_scores").score_network(Oracle(told), kept.blocks(2, 1))
    assert (scores.f1, scores.false_per_stable) == (1.0, 3.0)


def test_average_precision_against_scikit_learn(part):
    random = np.random.default_rng(0)
    probability = random.random(5000)
    truth = random.random(5000) < probability**3
    ranks = part("_ablation_scores").VoxelRanks(bins=2**16)
    for here in np.array_split(np.arange(5000), 3):
        ranks.add(probability[here], truth[here])
    assert ranks.average_precision() == pytest.approx(average_precision_score(truth, probability), abs=2e-3)
    assert np.isnan(part("_ablation_scores").VoxelRanks().average_precision())


# results


def make_result(variant, seed, **values):
    settings = {"cpu_minutes": 1.0, "channels": [8], "draws": 3, "blocks": 2, "stable_blocks": 1}
    figures = {"parameters": 1234, "steps": 10, "cpu_s": 60.0, "dice": 0.5, "average_precision": 0.5, "f1": 0.5}
    return {"variant": variant, "seed": seed, **figures, "false_per_stable": 1.0, "settings": settings, **values}


def test_the_table_has_means_spreads_and_differences_of_equal_seeds(part):
    results = [make_result("full", seed, dice=dice) for seed, dice in ((0, 0.4), (1, 0.6))]
    results.append(make_result("unet", 1, dice=0.5, steps=30))
    rows = part("_ablation_results").table(results).splitlines()
    assert rows[2].startswith("| full | 1,234 | 10 | 0.500 (0.400–0.600) | – | 0.500 |")
    assert rows[3].startswith("| unet | 1,234 | 30 | 0.500 (0.500–0.500) | -0.100 | 0.500 |")
    assert len(rows) == 4
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_runs_of_other_settings_get_another_table(part):
    other = make_result("full", 0, settings={**make_result("full", 0)["settings"], "cpu_minutes": 2.0})
    shown = part("_ablation_results").tables([make_result("full", 0), other])
    assert shown.count("| variant |") == 2
    assert "1 minutes of processor time" in shown
    assert "2 minutes of processor time" in shown


def test_a_line_that_was_cut_off_is_written_anew(part, tmp_path):
    results, path = part("_ablation_results"), tmp_path / "new" / "results.jsonl"
    assert results.read_results(path) == []
    results.add_result(path, make_result("full", 0))
    with path.open("a") as file:
        file.write('{"variant": "un')
    assert len(results.read_results(path)) == 1
    results.add_result(path, make_result("unet", 0))
    assert [one["variant"] for one in results.read_results(path)] == ["full", "unet"]


# the script


def make_options(tmp_path, **changed):
    options = {"cpu_minutes": 1e-6, "draws": 3, "blocks": 2, "stable_blocks": 1, "seeds": 1, "variants": ["unet"]}
    return SimpleNamespace(**options, results=tmp_path / "results.jsonl", **changed)


def test_a_killed_run_goes_on_where_it_stopped(part, kept, recipe, tmp_path, monkeypatch):
    script, options = part("ablation"), make_options(tmp_path)
    script.run_all(kept, recipe, options)
    options.variants = ["full", "unet"]
    script.run_all(kept, recipe, options)
    results = part("_ablation_results").read_results(options.results)
    assert [(one["variant"], one["steps"]) for one in results] == [("unet", 1), ("full", 1)]
    again = []
    monkeypatch.setattr(script, "run_one", lambda name, seed, *_: again.append(name) or make_result(name, seed))
    script.run_all(kept, recipe, options)
    assert again == []
    script.run_all(kept, replace(recipe, channels=(8, 16, 32)), options)
    assert again == ["full", "unet"]


def test_the_table_alone_needs_no_data(part, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    path = tmp_path / "results.jsonl"
    assert part("ablation").main(["--table", "--results", str(path)]) == 0
    assert "no finished run in" in capsys.readouterr().out
    part("_ablation_results").add_result(path, make_result("full", 0))
    assert part("ablation").main(["--table", "--results", str(path)]) == 0
    assert "| full | 1,234 |" in capsys.readouterr().out


def test_without_data_it_says_so(part, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert part("ablation").main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out


def test_too_few_scales_are_refused(part, capsys):
    with pytest.raises(SystemExit):
        part("ablation").main(["--channels", "8", "16"])
    assert "--channels: expected at least 3 scales, got 2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.real
def test_the_smallest_run_on_real_scans(part, real_data, tmp_path, capsys):
    threads = torch.get_num_threads()
    sizes = ["--scans", "1", "--draws", "1", "--blocks", "1", "--stable-blocks", "0"]
    where = ["--data", str(real_data), "--cache", str(tmp_path / "kept"), "--results", str(tmp_path / "results.jsonl")]
    try:
        assert (
            part("ablation").main([*where, *sizes, "--seeds", "1", "--cpu-minutes", "0.01", "--variants", "unet"]) == 0
        )
    finally:
        torch.set_num_threads(threads)
    assert "| unet | " in capsys.readouterr().out

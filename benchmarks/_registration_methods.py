# SPDX-License-Identifier: Apache-2.0
"""Ours and its peers behind one call: two scans in, points of the baseline to points of the follow-up out."""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_microchange._frames import LPS_FROM_RAS, image_from_array, matrix_from_transform, spacing_from_affine
from monai_microchange.networks.anatomy import load_anatomy_network
from monai_microchange.transforms import SegmentAnatomyd
from monai_microchange.transforms.registration import register_pair

__all__ = ["METHODS", "Method", "brain_masks", "missing_methods", "use_threads", "warm_up"]

Register = Callable[[MetaTensor, MetaTensor], np.ndarray]
SEED = 1


@dataclass(frozen=True)
class Method:
    """A way to register two scans.

    Attributes:
        register: baseline and follow-up (1, I, J, K) to the matrix (4, 4), RAS mm.
        needs: package that must be installed for it.
        is_peer: not ours.
        for_heads: looks for a brain, so it is left out where there may be none.
    """

    register: Register
    needs: str | None = None
    is_peer: bool = True
    for_heads: bool = False


def use_threads(count: int) -> None:
    """Give every library so many threads, and this process so many CPUs: to be called before any of them works."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    torch.set_num_threads(count)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def missing_methods(names: list[str]) -> list[str]:
    """Of some methods those whose package is not installed."""
    needs = {name: METHODS[name].needs for name in names}
    return [name for name, package in needs.items() if package and importlib.util.find_spec(package) is None]


def warm_up(method: Method) -> None:
    """Load a method's libraries, by a registration of two small blobs, so that no case pays for it."""
    steps = torch.arange(-24.0, 24.0)
    blob = torch.exp(-((steps[:, None, None] / 9) ** 2 + (steps[:, None] / 12) ** 2 + (steps / 15) ** 2))
    scan = MetaTensor(blob[None], affine=torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=torch.float64)))
    if method.for_heads:
        _network()
    else:
        method.register(scan, scan)


def brain_masks(scans: dict[str, MetaTensor]) -> dict[str, MetaTensor]:
    """Brain masks of scans, as the pipeline finds them, each on a grid of its own."""
    found = SegmentAnatomyd(list(scans), _network())(dict(scans))
    return {name: found[f"{name}_brain"] for name in scans}


@lru_cache(maxsize=1)
def _network() -> torch.nn.Module:
    return load_anatomy_network()


def _ours(baseline: MetaTensor, followup: MetaTensor, *, engine: str = "torch", degrees: int = 6) -> np.ndarray:
    found = register_pair(baseline, followup, engine=engine, degrees_of_freedom=degrees, seed=SEED)
    return found.baseline_to_followup


def _ours_in_brain(baseline: MetaTensor, followup: MetaTensor) -> np.ndarray:
    masks = {f"{visit}_mask": mask for visit, mask in brain_masks({"baseline": baseline, "followup": followup}).items()}
    return register_pair(baseline, followup, seed=SEED, **masks).baseline_to_followup


def _sitk_recipe(baseline: MetaTensor, followup: MetaTensor, *, moments: bool) -> np.ndarray:
    """The registration of SimpleITK's introductory notebook, with an optimiser and a sampling that suit it better.

    The notebook's gradient descent on 1 % of the voxels leaves patient01 2.3 mm off and patient19 4.6 mm.

    Source: Yaniv et al., 2018, doi 10.1007/s10278-017-0037-8 (the notebooks).
    """
    fixed, moving = _to_sitk(baseline), _to_sitk(followup)
    where = sitk.CenteredTransformInitializerFilter
    begin = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), where.MOMENTS if moments else where.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(learningRate=1.0, minStep=1e-4, numberOfIterations=200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(begin, inPlace=False)
    return matrix_from_transform(method.Execute(fixed, moving))


def _elastix(baseline: MetaTensor, followup: MetaTensor, *, kind: str, centred: bool = False) -> np.ndarray:
    """itk-elastix with its default parameter map, which begins where the headers say, or with the centres aligned."""
    import itk

    parameters = itk.ParameterObject.New()
    settings = parameters.GetDefaultParameterMap(kind)
    if centred:
        settings["AutomaticTransformInitialization"] = ["true"]
    parameters.AddParameterMap(settings)
    _, found = itk.elastix_registration_method(
        _to_itk(baseline),
        _to_itk(followup),
        parameter_object=parameters,
        number_of_threads=torch.get_num_threads(),
        log_to_console=False,
    )
    result = found.GetParameterMap(0)
    numbers = [float(x) for x in result["TransformParameters"]]
    transform = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    transform.SetCenter([float(x) for x in result["CenterOfRotationPoint"]])
    if kind == "rigid":
        transform.SetComputeZYX(dict(result).get("ComputeZYX", ("false",))[0] == "true")
    transform.SetParameters(numbers)
    return matrix_from_transform(transform)


def _ants(baseline: MetaTensor, followup: MetaTensor, *, kind: str) -> np.ndarray:
    """Registration of antspyx with its defaults."""
    import ants

    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            _to_ants(baseline), _to_ants(followup), type_of_transform=kind, outprefix=str(Path(folder) / "found")
        )
        return matrix_from_transform(sitk.ReadTransform(found["fwdtransforms"][0]))


def _to_sitk(scan: MetaTensor) -> sitk.Image:
    return image_from_array(scan.numpy()[0], scan.affine.numpy())


def _to_itk(scan: MetaTensor):
    import itk

    image = _to_sitk(scan)
    made = itk.image_from_array(sitk.GetArrayFromImage(image))
    made.SetOrigin(image.GetOrigin())
    made.SetSpacing(image.GetSpacing())
    made.SetDirection(itk.matrix_from_array(np.asarray(image.GetDirection()).reshape(3, 3)))
    return made


def _to_ants(scan: MetaTensor):
    import ants

    lps = LPS_FROM_RAS @ scan.affine.numpy()
    spacing = spacing_from_affine(lps)
    return ants.from_numpy(
        scan.numpy()[0], origin=lps[:3, 3].tolist(), spacing=spacing.tolist(), direction=lps[:3, :3] / spacing
    )


METHODS = {
    "microchange": Method(_ours, is_peer=False),
    "microchange-itk": Method(partial(_ours, engine="itk"), is_peer=False),
    "microchange-affine": Method(partial(_ours, degrees=12), is_peer=False),
    "microchange-brain": Method(_ours_in_brain, is_peer=False, for_heads=True),
    "simpleitk": Method(partial(_sitk_recipe, moments=False)),
    "simpleitk-moments": Method(partial(_sitk_recipe, moments=True)),
    "elastix-rigid": Method(partial(_elastix, kind="rigid"), needs="itk"),
    "elastix-rigid-centred": Method(partial(_elastix, kind="rigid", centred=True), needs="itk"),
    "elastix-affine": Method(partial(_elastix, kind="affine"), needs="itk"),
    "ants-rigid": Method(partial(_ants, kind="Rigid"), needs="ants"),
    "ants-affine": Method(partial(_ants, kind="Affine"), needs="ants"),
}
"""`microchange-brain` finds the brains first, as the pipeline does, and is timed with that."""

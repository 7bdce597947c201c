"""The reference networks in PyTorch, where they are installed."""

import importlib
import warnings

import pytest


@pytest.fixture(scope="session")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch")
    module.manual_seed(0)
    return module


@pytest.fixture(scope="session")
def torchvision_video(torch):
    """`torchvision.models.video`."""
    # The video networks need none of torchvision's compiled operators, but its import asks for two of them by name,
    # and its wheel is compiled for CUDA: beside the CPU build of PyTorch they are not there, so they are declared.
    library = torch.library.Library("torchvision", "FRAGMENT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except ImportError:
            pytest.skip("torchvision is not installed")
        return importlib.import_module("torchvision.models.video")


@pytest.fixture(scope="session")
def pytorchvideo(torchvision_video):
    """`pytorchvideo.models`; it imports torchvision, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("pytorchvideo.models")
        for name in ("resnet", "slowfast", "x3d"):
            importlib.import_module(f"pytorchvideo.models.{name}")
        return importlib.import_module("pytorchvideo.models")

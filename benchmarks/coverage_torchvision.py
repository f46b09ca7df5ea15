"""Networks of torchvision, with random weights: classification, segmentation, optical flow and video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torchvision import models

from benchmarks.coverage_sets import BATCH, BuiltNetwork, images
from supernet.elastic.inputs import Inputs


def _of(make: Callable[..., nn.Module], *shape: int, **options: object) -> BuiltNetwork:
    return make(weights=None, **options), images(*(shape or (3, 224, 224)))


def _segments(make: Callable[..., nn.Module], **options: object) -> BuiltNetwork:
    return make(weights=None, weights_backbone=None, **options), images(3, 96, 96)


def _flow(make: Callable[..., nn.Module]) -> BuiltNetwork:
    pair = torch.randn(BATCH, 3, 128, 128), torch.randn(BATCH, 3, 128, 128)
    return make(weights=None), Inputs(pair, {"num_flow_updates": 2})


NETWORKS: Mapping[str, Callable[[], BuiltNetwork]] = {
    "resnet50": partial(_of, models.resnet50),
    "mobilenet_v3_large": partial(_of, models.mobilenet_v3_large),
    "efficientnet_b0": partial(_of, models.efficientnet_b0),
    "convnext_tiny": partial(_of, models.convnext_tiny),
    "vit_b_16": partial(_of, models.vit_b_16),
    "swin_t": partial(_of, models.swin_t),
    "swin_v2_t": partial(_of, models.swin_v2_t, 3, 256, 256),
    "maxvit_t": partial(_of, models.maxvit_t),
    "densenet121": partial(_of, models.densenet121),
    "googlenet": partial(_of, models.googlenet, aux_logits=True, init_weights=True),
    "inception_v3": partial(_of, models.inception_v3, 3, 299, 299, aux_logits=True, init_weights=True),
    "shufflenet_v2_x1_0": partial(_of, models.shufflenet_v2_x1_0),
    "regnet_y_400mf": partial(_of, models.regnet_y_400mf),
    "mnasnet1_0": partial(_of, models.mnasnet1_0),
    "squeezenet1_1": partial(_of, models.squeezenet1_1),
    "vgg11_bn": partial(_of, models.vgg11_bn),
    "fcn_resnet50": partial(_segments, models.segmentation.fcn_resnet50, aux_loss=True),
    "deeplabv3_mobilenet_v3_large": partial(
        _segments, models.segmentation.deeplabv3_mobilenet_v3_large, aux_loss=True
    ),
    "lraspp_mobilenet_v3_large": partial(_segments, models.segmentation.lraspp_mobilenet_v3_large),
    "raft_small": partial(_flow, models.optical_flow.raft_small),
    "r3d_18": partial(_of, models.video.r3d_18, 3, 8, 64, 64),
    "mvit_v1_b": partial(_of, models.video.mvit_v1_b, 3, 16, 224, 224),
}

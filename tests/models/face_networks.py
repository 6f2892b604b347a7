"""Networks for faces in their true layouts, with weights that are random, or chosen so that their output is known."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hires.imaging.faces import TEMPLATE
from hires.models.faces.parsenet import ParseNet
from hires.models.faces.retinaface import CENTRE_VARIANCE, MEANS, RetinaFace

SIDE = 256
"""Of the only anchor that `spot_detector` finds a face in, pixels."""


def spot_detector() -> RetinaFace:
    """Finds a face around each bright spot at a multiple of 32 pixels: the anchor of 256 pixels over that cell.

    One channel carries the brightness through all layers; all other weights are 0. The points are the template's, less
    its middle, in the size of the anchor.
    """
    network = RetinaFace().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
        white = sum(255 - mean for mean in MEANS)
        network.body.conv1.weight[0, :, 3, 3] = 1 / white
        for layer in (network.body.layer1, network.body.layer2, network.body.layer3, network.body.layer4):
            layer[0].downsample[0].weight[0, 0, 0, 0] = 1
        network.fpn.output3[0].weight[0, 0, 0, 0] = 1
        network.ssh3.conv3X3[0].weight[0, 0, 1, 1] = 1
        for head in network.ClassHead:
            head.conv1x1.bias[[1, 3]] = -20.0
        network.ClassHead[2].conv1x1.weight[1, 0] = 40.0
        points = (TEMPLATE / 512 - 0.5).flatten() / CENTRE_VARIANCE
        network.LandmarkHead[2].conv1x1.bias[:10] = torch.from_numpy(points).float()
    return network


def thin_parser(part: int) -> ParseNet:
    """A thin ParseNet to which every pixel is that part of a face."""
    network = ParseNet([(8, 8), (8, 12)], 1, [(12, 8), (8, 8)], 19).eval()
    with torch.no_grad():
        network.out_mask_conv.conv2d.weight.zero_()
        network.out_mask_conv.conv2d.bias.zero_()
        network.out_mask_conv.conv2d.bias[part] = 1.0
    return network


def gfpgan(narrow: float) -> nn.Module:
    """GFPGAN for 512 pixels with random weights; narrow 1 is its own width, 86 million of them."""
    from spandrel.architectures.GFPGAN import GFPGAN

    full = narrow == 1
    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(0)
        network: nn.Module = GFPGAN(
            out_size=512,
            num_style_feat=512 if full else 8,
            channel_multiplier=2,
            decoder_load_path=None,
            fix_decoder=False,
            num_mlp=8 if full else 1,
            input_is_latent=True,
            different_w=True,
            narrow=narrow,
            sft_half=True,
        )
    return network.eval()


def spotted(height: int, width: int, *spots: tuple[int, int]) -> Tensor:
    """A dark, smooth picture (height, width, 3) with white spots of 9 pixels at (x, y)."""
    y, x = torch.meshgrid(torch.linspace(0, 0.3, height), torch.linspace(0, 0.3, width), indexing="ij")
    picture = torch.stack([x, y, (x + y) / 2], dim=-1)
    for left, top in spots:
        picture[top - 4 : top + 5, left - 4 : left + 5] = 1.0
    return picture

"""Class activation maps: what every position of the last feature maps adds to the logit of a class."""

from __future__ import annotations

from torch import Tensor

from openmix.errors import InputError
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.input_gradient import mode_of
from openmix.network import Network
from openmix.ops.precision import no_grad


def class_activation(network: Network, site: FeatureSite, x: Tensor, y: Tensor) -> Tensor:
    """Compute the (N, h, w) logits of classes `y` that the head gives to the features of each position.

    For a linear head behind average pooling these are the class activation maps of Zhou et al. (CVPR 2016) plus the
    bias of the class, and their mean is the logit. The network runs in evaluation mode, without gradient.

    Args:
        network: the classifier.
        site: where its backbone has the last feature maps before pooling.
        x: (N, 3, H, W) normalised images.
        y: (N,) int64 classes, or (N, C) class probabilities, which are replaced by their argmax.

    Raises:
        InputError: the head does not take features of the site.
    """
    with no_grad(), mode_of(network, False):
        features = site(network.backbone, x.to(next(network.backbone.parameters()).dtype))
        n, channels, height, width = features.shape
        try:
            logits = network.head(features.permute(0, 2, 3, 1).reshape(-1, channels))
        except InputError as error:
            raise InputError(
                f"site '{site.name}' has {channels} channels, which the head does not take; name the module that puts "
                'out the last feature maps before pooling'
            ) from error
        own = (y if y.dim() == 1 else y.argmax(1)).repeat_interleave(height * width)
        return logits.gather(1, own[:, None]).view(n, height, width)

"""`MixContext`: the information that a policy may use about the batch that it mixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mixups.attention import attention_at
from openmix.mixups.class_activation import class_activation
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.input_gradient import input_gradient, mode_of, trained_input_gradient
from openmix.mixups.targets import Target
from openmix.network import Network
from openmix.ops.batches import check_floating, check_labels, what
from openmix.ops.precision import no_grad


class MixContext:
    """Hold the clean batch, its labels and its network for a policy; derived values are computed on first use.

    Args:
        x: (N, C, H, W) the clean batch as the backbone's input (normalised if `mean` is given).
        y: (N,) int64 labels.
        mean, std: (C,) or (C, 1, 1), the normalisation of `x`, for pixels in [0, 1]. None: `x` is not
            normalised and holds pixels in [0, 1].
        network: the classifier that is trained, for policies that run it.
        targets: by name, what a learned policy may compare mixed images with; None: labels alone, if there are some.

    Attributes:
        numbers: (N, K) float labels of a regression, which has no classes; else None.
        clean_loss: the mean cross-entropy of the clean images after `saliency(keep_loss=True)`; else None.
        outputs: what named modules put out for the images in a forward pass of the caller, with its gradient; '' is the
            backbone's output (N, D). Empty: nothing was kept.
        settles_later: the caller calls `MixPolicy.settled` after its own forward pass of the mixed images, so a policy
            leaves that to it.

    Raises:
        InputError: an argument has the wrong type or shape, or there is not one label per image.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        network: nn.Module | None = None,
        targets: Mapping[str, Target] | None = None,
    ) -> None:
        check_floating('MixContext: x', x)
        if y is not None:
            check_labels('MixContext', y)
            if len(y) != len(x):
                raise InputError(f'MixContext: {len(y)} labels do not belong to {len(x)} images; give one an image')
        for name, value in (('mean', mean), ('std', std)):
            if not isinstance(value, Tensor | None):
                raise InputError(f'MixContext: {name} must be a tensor of one number a channel, got {what(value)}')
        self.x, self.y, self.mean, self.std, self.network = x, y, mean, std, network
        self.targets = targets
        self.numbers: Tensor | None = None
        self.clean_loss: Tensor | None = None
        self.settles_later = False
        self.outputs: dict[str, Tensor] = {}
        self._features: dict[tuple[int, str], Tensor] = {}
        self._attention: dict[str, Tensor] = {}
        self._logits: Tensor | None = None

    @cached_property
    def pixels(self) -> Tensor:
        """The clean images with pixels in [0, 1], (N, C, H, W) float."""
        if self.mean is None or self.std is None:
            return self.x
        return (self.x * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)).clamp(0, 1)

    def saliency(self, training: bool = False, keep_loss: bool = False) -> Tensor:
        """Compute (N, H, W) float saliency: the root mean square over channels of the loss gradient at each pixel.

        The loss is the cross-entropy, summed over the batch.

        Args:
            training: run the network in training mode, without updating batch-norm statistics; else in evaluation
                mode.
            keep_loss: run the network in its current mode, as a training step does, and store the mean
                cross-entropy in `clean_loss`, to be trained on.

        Raises:
            InputError: the context has no network or no labels.
        """
        if self.network is None or self.y is None:
            raise InputError('saliency needs the network and the labels; pass MixContext(x, y, network=...)')
        if keep_loss:
            gradient, self.clean_loss = trained_input_gradient(self.network, self.x, self.y)
        else:
            gradient = input_gradient(self.network, self.x, self.y, training)
        return gradient.float().square().mean(1).sqrt()

    def embeddings(self) -> Tensor:
        """Compute the (N, D) output of the trained backbone for the clean images, in evaluation mode without gradient.

        Raises:
            InputError: the context has no network with a backbone.
        """
        if not isinstance(self.network, Network):
            raise InputError('embeddings need the network; pass MixContext(x, network=Network(backbone, head))')
        with no_grad(), mode_of(self.network.backbone, False):
            return self.network.backbone(self.x)

    def features(self, site: FeatureSite, backbone: nn.Module) -> Tensor:
        """Compute (N, C, h, w) features of the clean images at a site of a backbone, without gradient; cached."""
        key = id(backbone), site.name
        if key not in self._features:
            with torch.no_grad():
                self._features[key] = site(backbone, self.x.to(next(backbone.parameters()).dtype))
        return self._features[key]

    def keep_features(self, site: FeatureSite, backbone: nn.Module, features: Tensor) -> None:
        """Keep features (N, C, h, w) of the clean images that were computed with something else, for `features`."""
        self._features[id(backbone), site.name] = features

    def attention(self, site: str) -> Tensor:
        """Compute the (N, heads, L, L) attention map of the clean images in a module of the trained backbone; cached.

        The backbone is a transformer of timm or torchvision, with or without fused attention kernels. It runs in
        evaluation mode without gradient. See `attention_at`.

        Args:
            site: name of the backbone's attention module, such as 'blocks.11.attn'.

        Raises:
            InputError: the context has no network with a backbone, or the module computes no attention.
        """
        if site in self._attention:
            return self._attention[site]
        if not isinstance(self.network, Network):
            raise InputError('attention needs the network; pass MixContext(x, network=Network(backbone, head))')
        self._attention[site] = attention_at(self.network.backbone, site, self.x)
        return self._attention[site]

    def class_activation(self, site: FeatureSite) -> Tensor:
        """Compute the (N, h, w) class activation maps of the clean images, each of its own class.

        The network runs in evaluation mode without gradient, at every call; see `class_activation`.

        Args:
            site: the last feature maps of the backbone, before pooling.

        Raises:
            InputError: the context has no labels or no network with a backbone, or the head does not take the site's
                features.
        """
        if not isinstance(self.network, Network) or self.y is None:
            raise InputError(
                'class activation needs the network and the labels; '
                'pass MixContext(x, y, network=Network(backbone, head))'
            )
        return class_activation(self.network, site, self.x, self.y)

    def keep_attention(self, site: str, attention: Tensor) -> None:
        """Keep an attention map (N, heads, L, L) that was computed in a forward pass of the caller, for `attention`."""
        self._attention[site] = attention

    def logits(self) -> Tensor:
        """Compute the (N, C) logits of the images, in evaluation mode without gradient; cached.

        Raises:
            InputError: the context has no network.
        """
        if self._logits is None:
            if self.network is None:
                raise InputError('logits need the network; pass MixContext(x, network=Network(backbone, head))')
            run, z = self.network, self.x
            if '' in self.outputs and isinstance(self.network, Network):
                run, z = self.network.head, self.outputs['']
            with no_grad(), mode_of(run, False):
                self._logits = run(z)
        return self._logits

    def keep_outputs(self, outputs: Mapping[str, Tensor]) -> None:
        """Keep `outputs` of a forward pass of the caller; with that of the backbone, `logits` runs the head alone."""
        self.outputs |= outputs

    def of_mixed(self, x: Tensor) -> MixContext:
        """Make the context of mixed images (or features), with this network and normalisation and without labels."""
        return MixContext(x, mean=self.mean, std=self.std, network=self.network)

    @contextmanager
    def settling(self, later: bool) -> Iterator[None]:
        """Set `settles_later` inside the block."""
        before, self.settles_later = self.settles_later, later
        try:
            yield
        finally:
            self.settles_later = before

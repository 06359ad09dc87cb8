"""Adversarial attacks on classifiers, within a maximum norm around each image's pixels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from openmix.errors import InputError, check_number


def pixel_size(where: str, value: Any) -> float:
    """Read a distance of pixels in [0, 1]: a number, or a fraction as a text, such as '8/255'.

    Raises:
        InputError: it is neither, or not in [0, 1], as 8 of 255 grey levels is not; or it is the whole number 1, which
            is one grey level to some and all of them to others.
    """
    if (type(value) is int and value == 1) or (isinstance(value, str) and value.strip() == '1'):
        raise InputError(f'{where}: 1 is one grey level, 1/255, or the whole range, 1.0; write which')
    if isinstance(value, str):
        try:
            value = float(Fraction(value))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise InputError(f"{where} must be a number or a fraction such as '8/255', got {value!r}") from None
    check_number(where, value, 0.0)
    if value > 1:
        raise InputError(
            f'{where} is a distance of pixels in [0, 1], got {value:g}; for grey levels write {value:g}/255'
        )
    return float(value)


def fgsm(logits_of: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Move every pixel by eps in the direction that raises the cross-entropy of the true class.

    The Fast Gradient Sign Method of Goodfellow et al., "Explaining and Harnessing Adversarial Examples" (ICLR 2015,
    section 4), one step without a random start.

    Args:
        logits_of: maps (N, 3, H, W) pixels in [0, 1] to (N, C) logits; normalisation is part of it.
        x: (N, 3, H, W) pixels in [0, 1].
        y: (N,) int64 true classes.
        eps: size of the step, of pixels in [0, 1]; 0 leaves the images as they are.

    Returns:
        (N, 3, H, W) pixels in [0, 1].
    """
    return (x + eps * slope(logits_of, x, y).sign()).clamp(0, 1)


def pgd(
    logits_of: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    iterations: int,
    start: Tensor | None = None,
) -> Tensor:
    """Repeat steps of `fgsm` and project onto the pixels within eps of the image, and onto [0, 1].

    Projected gradient descent of Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (ICLR
    2018, section 2.1).

    Args:
        logits_of, x, y: see `fgsm`.
        eps: largest distance of a pixel from its value in the image.
        step: size of a step.
        iterations: number of steps.
        start: (N, 3, H, W) pixels to start from; None: the images.

    Returns:
        (N, 3, H, W) pixels in [0, 1].
    """
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    found = x if start is None else start.clamp(low, high)
    for _ in range(iterations):
        found = (found + step * slope(logits_of, found, y).sign()).clamp(low, high)
    return found


def slope(logits_of: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Compute the gradient (N, 3, H, W) of each image's cross-entropy, but for a positive factor an image.

    The cross-entropy is softplus(s) with s = log sum_{c != y} exp(z_c) - z_y, so the gradient of s has the same signs.
    That of the cross-entropy itself rounds to 0 where the true class has a probability near 1: a confident classifier
    would seem to withstand the attack. Parameters get no gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # A tensor of inference mode takes no gradient; its copy does.
        pixels = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        labels = y.clone() if y.is_inference() else y
        logits = logits_of(pixels).double()
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], torch.finfo(logits.dtype).min).logsumexp(1)
        (found,) = torch.autograd.grad((others - own).sum(), pixels)
    return found

"""The decoupled mixup losses, DM(CE) and DM(BCE) (Liu et al., Decoupled Mixup for Data-efficient Learning)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.losses.binary_cross_entropy import bce_to_targets
from openmix.losses.cross_entropy import mix_ce
from openmix.losses.labels import at_least_float32, check_batch, label_shares, mean_of_rows, refuse_earlier
from openmix.mix import Mix
from openmix.registry import LOSSES


def decoupled_nll(logits: Tensor, target: Tensor, opponent: Tensor) -> Tensor:
    """Compute (N,) -log phi^{i,j}, the negative log-probability of class i with class j left out of the softmax.

    It is the cross-entropy over the logits without class j. The published form log(p_i / (1 - p_j))
    overflows from a logit gap of 16 in float16 and 30 in float32.

    Args:
        logits: (N, C) in at least float32, C >= 2.
        target: (N,) int64 class i.
        opponent: (N,) int64 class j, different from i.
    """
    return F.cross_entropy(logits.scatter(1, opponent[:, None], float('-inf')), target, reduction='none')


@LOSSES.register_module()
def decoupled_ce(
    logits: Tensor,
    y: Tensor,
    mix: Mix,
    eta: float = 0.1,
    sides: str = 'both',
    smoothing: float = 0.0,
    scale: str = 'none',
    least_share: float = 0.0,
    skip_half: bool = False,
    rows: Tensor | None = None,
) -> Tensor:
    """Compute DM(CE), MCE - eta [log phi^{i,j} + log phi^{j,i}] (Decoupled Mixup, 3.1 and Proposition 2).

    A pair of one class, a pair with a share of exactly 0 or 1, and a clean batch (K = 1) have no second
    class to decouple; their loss is the MCE alone.

    *Differs from the paper*: both terms are negative log-likelihoods. The paper prints the decoupled term
    without its minus sign; minimising that would drive phi to zero.

    *Published*: the released code weighs the two terms by the shares (`scale='share'`), while the paper's
    appendix weighs both by eta. It has no term where the smaller share is at most 0.001 (`least_share=0.001`),
    and where both shares are 1/2 (`skip_half=True`), since it tells the two classes apart by their shares.
    It also swaps the two weights for a whole batch whose first pair of two classes has its classes in
    descending order; this fault is not reproduced. It does not allow label smoothing with the term, because
    smoothed labels give every class a share; here the term reads the classes of the pair, so it can be combined.

    Args:
        logits: (N, C) of the mixed batch; any float type, computed in at least float32.
        y: (M,) int64 labels of the clean batch.
        mix: how the batch was mixed, K <= 2.
        eta: weight of the decoupled term; the paper's 0.1 for static and 1 for dynamic policies.
        sides: 'both': a term for each class of the pair; 'own': for the sample's own class only (the
            asymmetric strategy, 3.2).
        smoothing: label smoothing of the MCE term; the decoupled term is not smoothed.
        scale: weights of the two terms: 'none': eta for each; 'share': eta lam for the sample's own class and
            eta (1 - lam) for the partner's.
        least_share: pairs whose smaller share is at most this value, in [0, 0.5), have no decoupled term.
        skip_half: pairs with two shares of exactly 1/2 have no decoupled term.
        rows: weights of the samples in both terms, see `mean_of_rows`.

    Returns:
        scalar, averaged over the whole batch.

    Raises:
        InputError: more than two sources, images of earlier batches, soft labels, an unknown `sides` or `scale`, or a
            number out of range.
    """
    check_batch('decoupled_ce', logits, y, mix)
    refuse_earlier('decoupled_ce', mix)
    check_choice('decoupled_ce: sides', sides, ('both', 'own'))
    check_choice('decoupled_ce: scale', scale, ('none', 'share'))
    check_number('decoupled_ce: eta', eta, 0.0)
    check_number('decoupled_ce: smoothing', smoothing, 0.0, 1.0, below=True)
    check_number('decoupled_ce: least_share', least_share, 0.0, 0.5, below=True)
    if y.dim() != 1:
        raise InputError('decoupled_ce: needs (M,) class indices; soft labels have no single opponent class')
    mce = mix_ce(logits, y, mix, smoothing, rows)
    if mix.source.shape[1] == 1:
        return mce
    if mix.source.shape[1] > 2:
        raise InputError(f'decoupled_ce: defined for pairs, got {mix.source.shape[1]} sources; use mix_ce')
    logits = at_least_float32(logits)
    i, j = y[mix.source].unbind(1)
    is_pair = (i != j) & (mix.weight > least_share).all(1)
    if skip_half:
        is_pair &= mix.weight[:, 0] != mix.weight[:, 1]
    # Without a pair, use any other class as opponent: its value is discarded below, but its gradient must be finite.
    stand_in = (i + 1) % logits.shape[1]
    opponent = torch.where(is_pair, j, stand_in)
    terms = [decoupled_nll(logits, i, opponent)]
    if sides == 'both':
        terms.append(decoupled_nll(logits, opponent, i))
    if scale == 'share':
        terms = [share * term for share, term in zip(mix.weight.unbind(1), terms)]
    nll = sum(terms[1:], terms[0])
    return mce + eta * mean_of_rows('decoupled_ce', torch.where(is_pair, nll, torch.zeros_like(nll)), rows)


decoupled_ce.published = {'scale': 'share', 'least_share': 0.001, 'skip_half': True}


def rescale(share: Tensor, t: float, xi: float) -> Tensor:
    """Rescale shares by r(lam) = min(1, lam / xi) ** t for lam > 0, and 0 for lam = 0 (Decoupled Mixup, Eq. 3).

    xi = 0 is two-hot encoding, xi = t = 1 is the identity.

    *Differs from the paper*: r is capped at 1, because binary cross-entropy has no minimum for targets above 1.
    """
    capped = (share / xi).clamp(max=1) if xi > 0 else torch.ones_like(share)
    return torch.where(share > 0, capped**t, torch.zeros_like(share))


@LOSSES.register_module()
def decoupled_bce(
    logits: Tensor,
    y: Tensor,
    mix: Mix,
    t: float = 1.0,
    xi: float = 0.8,
    smoothing: float = 0.0,
    rows: Tensor | None = None,
) -> Tensor:
    """Compute DM(BCE), binary cross-entropy with targets r(share) for the classes in the mix (Decoupled Mixup, 3.3).

    Shares of the same class are added before they are rescaled, so a pair of one class has target 1.

    Args:
        logits: (N, C) of the mixed batch; any float type, computed in at least float32.
        y: (M,) int64 labels of the clean batch, or (M, C) class probabilities.
        mix: how the batch was mixed.
        t: exponent >= 0; the paper's 1 for cutting and 0.5 for interpolating policies.
        xi: threshold in [0, 1]; the paper's 0.8 for cutting and 1 for interpolating policies.
        smoothing: label smoothing in [0, 1), spread over all C classes.
        rows: weights of the samples, see `mean_of_rows`.

    Returns:
        scalar, summed over classes and averaged over the batch.

    Raises:
        InputError: t, xi or smoothing is out of range.
    """
    check_batch('decoupled_bce', logits, y, mix)
    check_number('decoupled_bce: t', t, 0.0)
    check_number('decoupled_bce: xi', xi, 0.0, 1.0)
    check_number('decoupled_bce: smoothing', smoothing, 0.0, 1.0, below=True)
    logits = at_least_float32(logits)
    return bce_to_targets(logits, rescale(label_shares(logits, y, mix), t, xi), smoothing, rows)

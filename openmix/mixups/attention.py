"""Read the attention maps of a transformer, also where a fused kernel does not return them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from openmix.errors import InputError, nearest
from openmix.mixups.feature_site import image_size, precision
from openmix.mixups.input_gradient import mode_of
from openmix.ops.precision import no_grad
from openmix.uncompiled import uncompiled

_FUSED = F.scaled_dot_product_attention
_SOFTMAX = {torch.softmax, Tensor.softmax, F.softmax}


@no_grad()
@uncompiled
def attention_at(backbone: nn.Module, site: str, x: Tensor) -> Tensor:
    """Compute the (N, heads, L, L) attention map of one module of a transformer for a batch; rows sum to 1.

    The backbone runs in evaluation mode; its modes are restored afterwards. The L tokens include class tokens.

    Args:
        backbone: a transformer of timm or torchvision; with windowed attention, N counts windows.
        site: name of the module whose forward pass computes one attention map.
        x: (N, 3, H, W) normalised images.

    Raises:
        InputError: there is no such module, it does not run, or it does not compute exactly one attention map
            between its tokens.
    """
    modules = dict(backbone.named_modules())
    owner = type(backbone).__name__
    if site not in modules or not site:
        raise InputError(
            f"{owner} has no module '{site}' to read attention at; {nearest(site, [n for n in modules if n])}"
        )
    seen: list[Tensor] = []
    lengths: list[int] = []

    def keep_length(_: nn.Module, given: tuple) -> None:
        lengths.extend([given[0].shape[1]] if given and isinstance(given[0], Tensor) and given[0].dim() == 3 else [])

    handle = modules[site].register_forward_pre_hook(keep_length)
    try:
        with mode_of(backbone, False), _no_fast_path(), _recorded(modules[site], seen):
            backbone(x)
    finally:
        handle.remove()
    return _only_map(owner, site, seen, lengths)


def _only_map(owner: str, site: str, seen: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Return the one map that a module computed.

    Raises:
        InputError: there is not exactly one, or it is not between the module's tokens, of which there are `lengths`.
    """
    if len(seen) != 1:
        found = f'{len(seen)} attention maps' if seen else 'no attention map'
        raise InputError(f"{owner}: '{site}' computes {found}; name one attention module, such as 'blocks.0.attn'")
    if lengths and seen[0].shape[-2:] != (lengths[0], lengths[0]):
        size = ' x '.join(map(str, seen[0].shape[-2:]))
        raise InputError(f"{owner}: '{site}' computes {size} attention, which is not between its {lengths[0]} tokens")
    return seen[0]


class Call(NamedTuple):
    """The arguments of a module in one forward pass."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@no_grad()
@uncompiled
def attention_in(backbone: nn.Module, site: str, call: Call) -> Tensor:
    """Compute the (N, heads, L, L) attention map of a forward pass that has run, by calling this module alone again.

    The pass stays as it is, with fused kernels and dropout; the module alone runs again, in evaluation mode.

    Args:
        backbone: see `attention_at`.
        site: name of the module.
        call: its arguments in that pass.

    Raises:
        InputError: the module does not compute exactly one attention map between its tokens.
    """
    module, seen = backbone.get_submodule(site), list[Tensor]()
    with mode_of(module, False), _no_fast_path(), _Recorder(seen):
        module(*call.args, **call.kwargs)
    given = call.args[0] if call.args else None
    lengths = [given.shape[1]] if isinstance(given, Tensor) and given.dim() == 3 else []
    return _only_map(type(backbone).__name__, site, seen, lengths)


@no_grad()
@uncompiled
def last_attention(backbone: nn.Module, size: tuple[int, int] | None = None) -> str:
    """Find the name of the module that computes the last attention map of a transformer, on the meta device.

    Args:
        backbone: a transformer of timm or torchvision, with or without its classifier.
        size: height and width of its images; None: those that it states.

    Raises:
        InputError: the backbone computes none.
    """
    twin = copy.deepcopy(backbone).to('meta').eval()
    running: list[str] = []
    names: list[str] = []
    seen = _Names(running, names)
    with ExitStack() as stack:
        for name, module in twin.named_modules():
            entered = module.register_forward_pre_hook(lambda *_, name=name: running.append(name))
            left = module.register_forward_hook(lambda *_: running.pop() and None, always_call=True)
            stack.callback(entered.remove)
            stack.callback(left.remove)
        with _no_fast_path(), _Recorder(seen):
            twin(torch.empty(1, 3, *(size or image_size(backbone)), device='meta', dtype=precision(backbone)))
    if not names:
        raise InputError(
            f'{type(backbone).__name__} computes no attention map to read; take a transformer of timm or torchvision, '
            'such as deit_small_patch16_224'
        )
    return names[-1]


class _Names(list[Tensor]):
    """Keep the name of the module that is running instead of an attention map."""

    def __init__(self, running: Sequence[str], names: list[str]) -> None:
        super().__init__()
        self.running, self.names = running, names

    def append(self, attention: Tensor) -> None:
        self.names.append(self.running[-1])


class _Recorder(TorchFunctionMode):
    """Record the attention map of every fused attention call and every softmax with a square output."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Callable, types: Sequence, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = kwargs or {}
        if func is F.multi_head_attention_forward:
            # With `need_weights` this call uses no fused kernel and returns the weights.
            out, weights = func(*args, **{**given, 'need_weights': True, 'average_attn_weights': False})
            self.seen.append(weights)
            return out, None
        if func is _FUSED:
            self.seen.append(_weights(*args, **given))
        out = func(*args, **given)
        if func in _SOFTMAX and isinstance(out, Tensor) and out.dim() == 4 and out.shape[-1] == out.shape[-2]:
            self.seen.append(out)
        return out


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Compute the attention map of `scaled_dot_product_attention`, by the definition in torch's documentation."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, float('-inf')) if masked else scores + attn_mask
    return scores.softmax(-1)


@contextmanager
def _recorded(module: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Record attention maps into `seen` during the forward pass of `module`."""
    mode = _Recorder(seen)
    handles = [
        module.register_forward_pre_hook(lambda *_: mode.__enter__() and None),
        module.register_forward_hook(lambda *_: mode.__exit__(None, None, None), always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """Disable the fast path of torch's multi-head attention, a single operator that cannot be recorded."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)

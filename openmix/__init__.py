"""openmix: train, compare and extend mixup methods."""

from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'

if TYPE_CHECKING:
    from openmix.inference import load_model, predict

__all__ = ['load_model', 'predict']


def __getattr__(name: str) -> Any:
    # Imported when it is asked for, because it needs torch, mmengine and torchvision.
    if name in __all__:
        from openmix import inference

        return getattr(inference, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

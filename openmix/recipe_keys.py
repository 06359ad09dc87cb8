"""The recipe keys that openmix reads in addition to the arguments of mmengine's runner."""

from __future__ import annotations

from typing import Any, Literal

# Keys of a recipe that the runner reads in addition to its own arguments, and what they take.
ALSO_READ: dict[str, Any] = {
    **dict.fromkeys(('custom_imports', 'model_wrapper_cfg'), dict),
    'efficient_conv_bn_eval': str | list | None,
    'compile': bool | dict,
    'weights': dict | None,
    'vis_backends': list,
    'data_on_device': bool,
    'sync_bn': Literal['torch', 'naive', 'equal'] | None,
    'find_unused_parameters': bool,
}

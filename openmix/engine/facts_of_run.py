"""What every checkpoint says of the run that wrote it."""

from __future__ import annotations

from typing import Any

from openmix.algorithm import algorithm_of
from openmix.engine.early_stopping import EarlyStoppingHook
from openmix.engine.initial_weights import judged_backbone
from openmix.engine.restart import launch_id
from openmix.engine.results import ResultHook
from openmix.engine.resumable import plain_recipe, recipe_hash
from openmix.memory import training_keys
from openmix.provenance import data_fingerprint


def facts_of_run(runner: Any) -> dict[str, Any]:
    """Collect the facts of a run that are saved in every checkpoint."""
    run = next((hook.recipe_of(runner) for hook in runner.hooks if isinstance(hook, ResultHook)), '')
    may_stop = any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks)
    return {
        **({'run': run} if run else {}),
        'judged': judged_backbone(algorithm_of(runner.model)),
        **({'memories': parts} if (parts := sorted(training_keys(algorithm_of(runner.model)))) else {}),
        'ends_at': None if may_stop else runner.max_iters,
        'recipe': recipe_hash(runner.cfg),
        'resolved_recipe': plain_recipe(runner.cfg),
        'launch': launch_id(),
        'world_size': runner.world_size,
        'data': data_fingerprint(runner.cfg),
    }
